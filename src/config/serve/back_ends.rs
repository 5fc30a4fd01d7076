//! What no single key of the back ends can be wrong about.

use super::{DEFAULT_PROXY, Endpoint, Serve, WithoutNamespace};
use crate::config::fault::Fault;

/// The name that the back end of events has among the proxies.
const EVENTS: &str = "events";

impl Serve {
    /// Finds questions that would be put to nobody.
    pub(super) fn check_back_ends(&self) -> Result<(), Fault> {
        let is_on = [
            ("client.proxy.connect", self.connect_proxy.enabled, &self.connect_proxy.endpoint),
            ("client.proxy.refresh", self.refresh_proxy.enabled, &self.refresh_proxy.endpoint),
            ("events", self.events.enabled, &self.events.endpoint),
        ];
        for (path, is_on, endpoint) in is_on {
            if is_on && endpoint.is_empty() {
                return Err(nowhere(&format!("{path}.enabled is on"), &format!("{path}.endpoint")));
            }
        }
        for (name, proxy) in &self.back_ends.proxies.0 {
            if proxy.endpoint.is_empty() || [DEFAULT_PROXY, EVENTS].contains(&&**name) {
                let says =
                    format!("the proxy {name:?} has no endpoint, or is called default or events");
                return Err(fault(says, "give it an endpoint, and a name of its own"));
            }
        }
        let rpc = &self.rpc_without_namespace;
        let namespaces = &self.rpc.namespaces.0;
        let all = [("rpc.without_namespace", rpc)].into_iter();
        for (place, rpc) in all.chain(namespaces.iter().map(|(name, rpc)| (name.as_str(), rpc))) {
            if rpc.proxy_enabled {
                self.check_named(place, &rpc.proxy_name, ("rpc.proxy", &self.rpc_proxy.endpoint))?;
            }
        }
        self.check_channel("channel.without_namespace", &self.without_namespace)?;
        for namespace in &self.channel.namespaces.0 {
            self.check_channel(&namespace.name, &namespace.options)?;
        }
        Ok(())
    }

    fn check_channel(&self, place: &str, options: &WithoutNamespace) -> Result<(), Fault> {
        if options.subscribe_proxy_enabled {
            let usual = ("channel.proxy.subscribe", &self.subscribe_proxy.endpoint);
            self.check_named(place, &options.subscribe_proxy_name, usual)?;
        }
        if options.publish_proxy_enabled {
            let usual = ("channel.proxy.publish", &self.publish_proxy.endpoint);
            self.check_named(place, &options.publish_proxy_name, usual)?;
        }
        if options.sub_refresh_proxy_enabled {
            let usual = ("channel.proxy.sub_refresh", &self.sub_refresh_proxy.endpoint);
            self.check_named(place, &options.sub_refresh_proxy_name, usual)?;
        }
        Ok(())
    }

    fn check_named(
        &self,
        place: &str,
        name: &str,
        (usual, endpoint): (&str, &Vec<Endpoint>),
    ) -> Result<(), Fault> {
        if name == DEFAULT_PROXY {
            let is_somewhere = !endpoint.is_empty();
            let what = format!("{place} asks {usual}");
            return is_somewhere.then_some(()).ok_or(nowhere(&what, &format!("{usual}.endpoint")));
        }
        if self.back_ends.proxies.0.iter().any(|(known, _)| known == name) {
            return Ok(());
        }
        Err(fault(
            format!("{place} asks {name:?}, and there is no such proxy"),
            "add it to proxies",
        ))
    }
}

fn nowhere(what: &str, key: &str) -> Fault {
    fault(format!("{what}, and it is nowhere"), &format!("set {key}"))
}

fn fault(says: String, mend: &str) -> Fault {
    Fault::Contradiction { says, mend: mend.to_owned() }
}
