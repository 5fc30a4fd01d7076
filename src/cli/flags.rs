//! A flag for every key of the configuration, made from the table of keys.

use clap::builder::PossibleValue;
use clap::{Arg, ArgAction, ArgMatches, Command};
use longwire::config::{Key, Kind, Raw, keys};

/// The flags that were given.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyFlags {
    given: Vec<(&'static Key, Vec<String>)>,
}

impl KeyFlags {
    /// Lays them over weaker sources.
    pub(crate) fn lay(&self, raw: &mut Raw) {
        for (key, values) in &self.given {
            raw.lay_flag(key, values.clone());
        }
    }
}

/// Keys whose flags belong to all commands, and are [`LogArgs`](super::log::LogArgs).
fn is_global(key: &Key) -> bool {
    key.path.starts_with("log.")
}

fn flag(key: &'static Key) -> Arg {
    let help = format!("{} Takes {}", key.meaning(), key.allowed());
    let flag = Arg::new(key.path)
        .long(key.flag())
        // As Centrifugo spells its flags.
        .alias(key.path)
        .help(help)
        .help_heading(heading(key))
        .value_name("VALUE");
    match key.kind {
        Kind::List(_) => flag.action(ArgAction::Append),
        // `--client-insecure` is enough to say true.
        Kind::Switch => flag.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Word(words) => {
            // Nothing is a word, too, but none to be listed.
            let value = |word: &&'static str| PossibleValue::new(*word).hide(word.is_empty());
            flag.value_parser(words.iter().map(value).collect::<Vec<_>>())
        }
        _ => flag,
    }
}

fn heading(key: &'static Key) -> &'static str {
    key.path.rsplit_once('.').map_or("Server", |(section, _)| section)
}

impl clap::Args for KeyFlags {
    fn augment_args(command: Command) -> Command {
        keys().filter(|key| !is_global(key)).fold(command, |command, key| command.arg(flag(key)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for KeyFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for key in keys().filter(|key| !is_global(key)) {
            if let Some(values) = matches.get_many::<String>(key.path) {
                self.given.push((key, values.cloned().collect()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use longwire::config::Serve;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: KeyFlags,
    }

    fn parsed(line: &str) -> Serve {
        let mut raw = Raw::new();
        Line::parse_from(line.split(' ')).flags.lay(&mut raw);
        Serve::new(raw).unwrap_or_else(|faults| panic!("{}", faults[0]))
    }

    #[test]
    fn a_flag_sets_its_key_in_either_spelling() {
        for line in ["x --client-channel-limit 5", "x --client.channel_limit=5"] {
            assert_eq!(parsed(line).client.channel_limit, 5, "{line}");
        }
    }

    #[test]
    fn a_list_is_a_flag_several_times() {
        let serve = parsed("x --listen 127.0.0.1:1 --listen unix:/x");
        assert_eq!(serve.listens().len(), 2);
    }

    #[test]
    fn a_switch_needs_no_value_and_takes_one() {
        assert!(parsed("x --client-insecure").client.insecure);
        assert!(parsed("x --client-insecure=true --shards 1").client.insecure);
        assert!(!parsed("x --client-insecure=false").client.insecure);
    }

    #[test]
    fn every_key_has_a_flag_here_or_for_all_commands() {
        let command = <KeyFlags as clap::Args>::augment_args(Command::new("x"));
        let log = <super::super::log::LogArgs as clap::Args>::augment_args(Command::new("x"));
        for key in keys() {
            let has = |command: &Command| {
                command.get_arguments().any(|arg| arg.get_long() == Some(&key.flag()))
            };
            assert_eq!(u8::from(has(&command)) + u8::from(has(&log)), 1, "{}", key.path);
        }
    }
}
