//! What no single key of the channels can be wrong about.

use super::{Mark, Serve, WithoutNamespace};
use crate::config::fault::Fault;
use crate::config::setting::Setting;

impl Serve {
    /// Finds options of channels that contradict each other.
    pub fn check_channels(&self) -> Result<(), Fault> {
        self.check_marks()?;
        self.check_back_ends()?;
        check_options("channel.without_namespace", &self.without_namespace)?;
        for namespace in &self.channel.namespaces.0 {
            let place = format!("the namespace {:?}", namespace.name);
            check_options(&place, &namespace.options)?;
        }
        let name = &self.personal.personal_channel_namespace;
        let is_known = self.channel.namespaces.0.iter().any(|one| one.name == *name);
        if self.personal.enabled && !name.is_empty() && !is_known {
            let key = "client.subscribe_to_user_personal_channel.personal_channel_namespace";
            return contradiction(
                format!("{key} is {name:?}, and there is no such namespace"),
                "add it to channel.namespaces",
            );
        }
        Ok(())
    }

    /// A character that means two things would mean neither.
    fn check_marks(&self) -> Result<(), Fault> {
        let channel = &self.channel;
        let marks = [
            ("private_prefix", channel.private_prefix),
            ("namespace_boundary", channel.namespace_boundary),
            ("user_boundary", channel.user_boundary),
            ("user_separator", channel.user_separator),
        ];
        for (index, (name, Mark(mark))) in marks.into_iter().enumerate() {
            if let Some((other, _)) = marks[..index].iter().find(|(_, Mark(other))| *other == mark)
            {
                return contradiction(
                    format!("channel.{other} and channel.{name} are both {mark:?}"),
                    "give each a character of its own",
                );
            }
        }
        Ok(())
    }
}

fn check_options(place: &str, options: &WithoutNamespace) -> Result<(), Fault> {
    let WithoutNamespace { history_size, history_ttl, .. } = options;
    let has_ttl = history_ttl.amount() != Some(0);
    if (*history_size > 0) != has_ttl {
        let ttl = history_ttl.write().show();
        return contradiction(
            format!("{place}: history_size is {history_size}, and history_ttl {ttl}"),
            "set both, or neither",
        );
    }
    let rewrites = options.allow_tags_filter || !options.allowed_delta_types.is_empty();
    if options.acknowledged && rewrites {
        return contradiction(
            format!("{place}: acknowledged is on, and so are filters by tags or deltas"),
            "decide for one: who filters out a publication could never acknowledge it",
        );
    }
    let needs_history = [
        ("force_recovery", options.force_recovery),
        ("force_positioning", options.force_positioning),
        ("auto_cache_recover", options.auto_cache_recover),
        ("allowed_delta_types", !options.allowed_delta_types.is_empty()),
    ];
    if let Some((name, _)) = needs_history.iter().find(|(_, is_on)| *is_on)
        && !options.has_history()
    {
        return contradiction(
            format!("{place}: {name} is on, and nothing is kept that it needs"),
            "set history_size and history_ttl, too",
        );
    }
    Ok(())
}

fn contradiction(says: String, mend: &str) -> Result<(), Fault> {
    Err(Fault::Contradiction { says, mend: mend.to_owned() })
}
