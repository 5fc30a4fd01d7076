//! The back ends of a server, and what is asked of them, from its one configuration.

use std::collections::BTreeSet;

use longwire::backend::{Departures, Disconnect, EVENTS, Fault, Proxies, Proxy, Verdict};
use longwire::config::{Serve, serve};
use longwire::session::{Boundary, ChannelHooks, Hooks, RpcHooks};

/// The usual back ends, by the paths of their sections: no name that a namespace may have.
const CONNECT: &str = "client.proxy.connect";
const REFRESH: &str = "client.proxy.refresh";
const SUBSCRIBE: &str = "channel.proxy.subscribe";
const PUBLISH: &str = "channel.proxy.publish";
const SUB_REFRESH: &str = "channel.proxy.sub_refresh";
const RPC: &str = "rpc.proxy";

/// All back ends that are anywhere.
pub(crate) fn proxies(serve: &Serve) -> Proxies {
    let usual = [
        (CONNECT, serve.connect_proxy.keys()),
        (REFRESH, serve.refresh_proxy.keys()),
        (SUBSCRIBE, serve.subscribe_proxy.keys()),
        (PUBLISH, serve.publish_proxy.keys()),
        (SUB_REFRESH, serve.sub_refresh_proxy.keys()),
        (RPC, serve.rpc_proxy.keys()),
    ];
    let usual = usual.iter().map(|(name, keys)| ((*name).to_owned(), proxy(keys)));
    let named = serve.back_ends.proxies.0.iter();
    let named = named.map(|(name, keys)| (name.clone(), proxy(keys)));
    let events = serve.events.enabled.then(|| (EVENTS.to_owned(), told(&serve.events)));
    let all = usual.chain(named).chain(events);
    Proxies(all.filter(|(_, proxy)| !proxy.endpoints.is_empty()).collect())
}

/// The back end that is told of events, and asked nothing.
fn told(events: &serve::Events) -> Proxy {
    Proxy {
        endpoints: events.endpoint.iter().map(|endpoint| endpoint.0.clone()).collect(),
        timeout: events.timeout,
        static_headers: headers(&events.static_headers),
        ..Proxy::default()
    }
}

fn headers(all: &[serve::StaticHeader]) -> Vec<(String, String)> {
    all.iter().map(|one| (one.name.clone(), one.value.clone())).collect()
}

fn proxy(keys: &serve::ProxyKeys) -> Proxy {
    let names = |headers: &[serve::HeaderName]| {
        headers.iter().filter_map(|header| header.name().map(str::to_ascii_lowercase)).collect()
    };
    let statuses = keys.status_to_code_transforms.0.iter();
    Proxy {
        endpoints: keys.endpoint.iter().map(|endpoint| endpoint.0.clone()).collect(),
        timeout: keys.timeout,
        http_headers: names(&keys.http_headers),
        emulated_headers: names(&keys.emulated_headers),
        static_headers: headers(&keys.static_headers),
        has_meta: keys.include_connection_meta,
        is_binary: keys.binary_encoding,
        statuses: statuses.map(|one| (one.status, verdict(&one.told))).collect(),
    }
}

fn verdict(told: &serve::Told) -> Verdict {
    match told.clone() {
        serve::Told::Error { code, message, temporary } => {
            Verdict::Fault(Fault { code, message, temporary })
        }
        serve::Told::Disconnect { code, reason } => {
            Verdict::Disconnect(Disconnect { code, reason })
        }
    }
}

/// Which questions are put to them.
pub(crate) fn hooks(serve: &Serve) -> Hooks {
    let namespaces = serve.channel.namespaces.0.iter();
    let all = namespaces.map(|one| (Some(one.name.as_str()), &one.options));
    let all = all.chain([(None, &serve.without_namespace)]);
    let (mut subscribe, mut publish) = (ChannelHooks::default(), ChannelHooks::default());
    let mut sub_refresh = ChannelHooks::default();
    for (namespace, options) in all {
        if options.subscribe_proxy_enabled {
            subscribe.set(namespace, named(&options.subscribe_proxy_name, SUBSCRIBE));
        }
        if options.publish_proxy_enabled {
            publish.set(namespace, named(&options.publish_proxy_name, PUBLISH));
        }
        if options.sub_refresh_proxy_enabled {
            sub_refresh.set(namespace, named(&options.sub_refresh_proxy_name, SUB_REFRESH));
        }
    }
    let procedures =
        |rpc: &serve::RpcWithoutNamespace| rpc.proxy_enabled.then(|| named(&rpc.proxy_name, RPC));
    let own = serve.rpc.namespaces.0.iter();
    let all = proxies(serve).0;
    let names = |of: fn(&Proxy) -> &Vec<String>| {
        let names: BTreeSet<String> = all.values().flat_map(of).cloned().collect();
        names.into_iter().collect()
    };
    Hooks {
        http_headers: names(|proxy| &proxy.http_headers),
        emulated_headers: names(|proxy| &proxy.emulated_headers),
        connect: serve.connect_proxy.enabled.then(|| CONNECT.to_owned()),
        refresh: serve.refresh_proxy.enabled.then(|| REFRESH.to_owned()),
        subscribe,
        publish,
        sub_refresh,
        rpc: RpcHooks {
            without_namespace: procedures(&serve.rpc_without_namespace),
            namespaces: own.map(|(name, rpc)| (name.clone(), procedures(rpc))).collect(),
            namespace_boundary: Boundary(serve.rpc.namespace_boundary.0),
        },
        events: departures(&serve.events),
    }
}

fn departures(events: &serve::Events) -> Departures {
    let is_told = |kind| events.enabled && events.types.contains(&kind);
    Departures {
        disconnect: is_told(serve::EventType::Disconnect),
        unsubscribe: is_told(serve::EventType::Unsubscribe),
    }
}

fn named(name: &str, usual: &str) -> String {
    if name == serve::DEFAULT_PROXY { usual } else { name }.to_owned()
}

#[cfg(test)]
mod tests {
    use longwire::config::{Format, Raw};

    use super::*;

    fn read(toml: &str) -> Serve {
        let mut raw = Raw::new();
        raw.lay_file("c.toml", Format::Toml, toml);
        Serve::new(raw).unwrap_or_else(|faults| panic!("{}", faults[0]))
    }

    #[test]
    fn keys_reach_the_back_ends_and_what_they_are_asked() {
        let serve = read(
            r#"
            [[proxies]]
            name = "other"
            endpoint = ["http://127.0.0.1:1/a", "http://127.0.0.1:2/b"]
            timeout = "3s"
            http_headers = ["Cookie"]
            emulated_headers = ["X-Key"]
            static_headers = ["X-Me: longwire"]
            include_connection_meta = true
            binary_encoding = true
            status_to_code_transforms = [{status_code = 404, to_error = {code = 404}}]
            [client.proxy.connect]
            enabled = true
            endpoint = "http://127.0.0.1:3/c"
            [rpc.proxy]
            endpoint = "http://127.0.0.1:4/d"
            [rpc.without_namespace]
            proxy_enabled = true
            [[rpc.namespaces]]
            name = "own"
            proxy_enabled = true
            proxy_name = "other"
            [channel.without_namespace]
            publish_proxy_enabled = true
            publish_proxy_name = "other"
            sub_refresh_proxy_enabled = true
            sub_refresh_proxy_name = "other"
            [events]
            enabled = true
            endpoint = "http://127.0.0.1:5/e"
            types = ["disconnect"]
            timeout = "9s"
            static_headers = ["X-Me: longwire"]
            "#,
        );
        serve.check_channels().expect("it is whole");
        let proxies = proxies(&serve);
        let fault = Fault { code: 404, ..Fault::default() };
        let other = Proxy {
            endpoints: vec!["http://127.0.0.1:1/a".into(), "http://127.0.0.1:2/b".into()],
            timeout: std::time::Duration::from_secs(3),
            http_headers: vec!["cookie".to_owned()],
            emulated_headers: vec!["x-key".to_owned()],
            static_headers: vec![("X-Me".to_owned(), "longwire".to_owned())],
            has_meta: true,
            is_binary: true,
            statuses: [(404, Verdict::Fault(fault))].into(),
        };
        assert_eq!(proxies.0["other"], other);
        assert_eq!(proxies.0.keys().collect::<Vec<_>>(), [CONNECT, EVENTS, "other", RPC]);
        let events = Proxy {
            endpoints: vec!["http://127.0.0.1:5/e".into()],
            timeout: std::time::Duration::from_secs(9),
            static_headers: vec![("X-Me".to_owned(), "longwire".to_owned())],
            ..Proxy::default()
        };
        assert_eq!(proxies.0[EVENTS], events);
        let hooks = hooks(&serve);
        assert_eq!((hooks.connect.as_deref(), hooks.refresh), (Some(CONNECT), None));
        let [rpc, own] = [&hooks.rpc.without_namespace, &hooks.rpc.namespaces["own"]];
        assert_eq!((rpc.as_deref(), own.as_deref()), (Some(RPC), Some("other")));
        let mut publish = ChannelHooks::default();
        publish.set(None, "other".to_owned());
        assert_eq!((&hooks.publish, &hooks.sub_refresh), (&publish, &publish));
        assert_eq!(hooks.subscribe, ChannelHooks::default());
        assert_eq!(hooks.events, Departures { disconnect: true, unsubscribe: false });
    }

    #[test]
    fn nobody_is_asked_who_is_nowhere() {
        for toml in [
            "client.proxy.connect.enabled = true",
            "client.proxy.refresh.enabled = true",
            "events.enabled = true",
            "rpc.without_namespace.proxy_enabled = true",
            "[rpc.without_namespace]\nproxy_enabled = true\nproxy_name = \"other\"",
            "channel.without_namespace.subscribe_proxy_enabled = true",
            "channel.without_namespace.sub_refresh_proxy_enabled = true",
            "[[channel.namespaces]]\nname = \"chat\"\npublish_proxy_enabled = true",
            "proxies = [{name = \"other\"}]",
            "proxies = [{name = \"default\", endpoint = \"http://a\"}]",
            "proxies = [{name = \"events\", endpoint = \"http://a\"}]",
        ] {
            assert!(read(toml).check_channels().is_err(), "{toml}");
        }
    }
}
