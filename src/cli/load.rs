//! The configuration of this process: its file, its environment and its flags, read and checked.

use std::fmt;
use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::Args;
use longwire::Origins;
use longwire::config::serve::Client;
use longwire::config::{Fault, Format, Listen, Raw, Serve, Source, VARIABLE_PREFIX, keys};
use longwire::ws::handshake::{AllowedOrigins, BadOrigin, MissingOrigin};

use super::flags::KeyFlags;
use super::log::LogArgs;

/// What the configuration is made of.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Sources {
    /// The configuration file: .toml, .json, .yaml or .yml
    #[arg(short, long, value_name = "FILE", env = "LONGWIRE_CONFIG")]
    config: Option<PathBuf>,

    /// Open everything to everybody, with a page to try it: for development on this machine
    #[arg(long)]
    dev: bool,

    /// With --dev: serve other machines, too
    #[arg(long, requires = "dev")]
    dev_allow_remote: bool,

    #[command(flatten)]
    keys: KeyFlags,
}

/// Why there is no configuration.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The file cannot be read.
    Unreadable { path: PathBuf, error: io::Error },
    /// The name of the file does not tell its format.
    NoFormat { path: PathBuf },
    /// It is not valid.
    Faults(Vec<Fault>),
    /// `--dev`, and an address that other machines reach.
    OpenToTheWorld { address: String },
}

impl Sources {
    /// Reads all sources anew. The flags of the log are those of the whole command line.
    pub(crate) fn load(&self, log: &LogArgs) -> Result<Serve, LoadError> {
        let mut raw = Raw::new();
        if let Some(path) = &self.config {
            lay_file(&mut raw, path)?;
        }
        raw.lay_environment(environment()?);
        self.keys.lay(&mut raw);
        log.lay(&mut raw);
        let is_anywhere = |path: &str| raw.source_of(path).is_none();
        if self.dev && is_anywhere("listen") && is_anywhere("http_server.address") {
            lay_loopback(&mut raw);
        }
        let mut serve = checked(raw)?;
        if self.dev {
            serve.open_up();
            self.check_reach(&serve)?;
        }
        Ok(serve)
    }

    /// Whether the server is open to everybody.
    pub(crate) fn is_dev(&self) -> bool {
        self.dev
    }

    fn check_reach(&self, serve: &Serve) -> Result<(), LoadError> {
        let internal = serve.internal_listen().map(Listen::tcp);
        let mut all = serve.listens().into_iter().chain(internal);
        match all.find(|listen| !listen.is_local()) {
            Some(listen) if !self.dev_allow_remote => {
                Err(LoadError::OpenToTheWorld { address: listen.to_string() })
            }
            _ => Ok(()),
        }
    }
}

/// What is read from the layers, if a server could go by it.
pub(crate) fn checked(mut raw: Raw) -> Result<Serve, LoadError> {
    raw.open_secrets(|path| fs::read_to_string(path));
    let origins_from = raw.source_of(ORIGINS).cloned();
    let serve = Serve::new(raw).map_err(LoadError::Faults)?;
    if let (Err(bad), Some(source)) = (origins(&serve.client), origins_from) {
        return Err(LoadError::Faults(vec![bad_origin(&serve.client, bad, source)]));
    }
    if let Some(fault) = header_of_nobody(&serve) {
        return Err(LoadError::Faults(vec![fault]));
    }
    serve.check_channels().map_err(|fault| LoadError::Faults(vec![fault]))?;
    serve.check_shares(shard_count(&serve)).map_err(|fault| LoadError::Faults(vec![fault]))?;
    Ok(serve)
}

/// Shards as far as they can be known before the limit of descriptors is.
fn shard_count(serve: &Serve) -> u32 {
    let cores = || {
        longwire::sys::cpu::usable_count()
            .map_or(1, |count| u32::try_from(count).unwrap_or(u32::MAX))
    };
    serve.host.shards.map_or_else(cores, NonZeroU32::get)
}

/// The variables with their values. A name that is not UTF-8 is none of ours.
fn environment() -> Result<Vec<(String, String)>, LoadError> {
    let named =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    named
        .filter(|(name, _)| name.starts_with(VARIABLE_PREFIX))
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(LoadError::Faults(vec![not_text(&name)])),
        })
        .collect()
}

/// A value that would be another one if it were read as text.
fn not_text(name: &str) -> Fault {
    Fault::Contradiction {
        says: format!("the value of {name} is not UTF-8"),
        mend: "write it in UTF-8".to_owned(),
    }
}

const ORIGINS: &str = "client.allowed_origins";

/// The pages that may connect. Where clients need no rights, it is the page that must be known.
pub(crate) fn origins(client: &Client) -> Result<Origins, BadOrigin> {
    if client.allowed_origins.is_empty() {
        return Ok(if client.insecure { Origins::Nameless } else { Origins::SameHost });
    }
    let entries = client.allowed_origins.iter().map(|origin| origin.0.as_str());
    AllowedOrigins::new(entries, MissingOrigin::Allow).map(Origins::Allowed)
}

fn bad_origin(client: &Client, bad: BadOrigin, source: Source) -> Fault {
    let key = keys().find(|key| key.path == ORIGINS).expect("a key");
    let value = format!("{:?}", client.allowed_origins[bad.index].0);
    let says = "this is no origin, and would never match".to_owned();
    Fault::Invalid { source, key, value, says }
}

/// The header that names users is believed of trusted proxies, so there have to be some.
fn header_of_nobody(serve: &Serve) -> Option<Fault> {
    let name = serve.client.user_id_http_header.name()?;
    serve.host.trusted_proxies.is_empty().then(|| Fault::Contradiction {
        says: format!("client.user_id_http_header is {name:?}, and trusted_proxies is empty"),
        mend: "name the proxies in front: nobody else is believed who a user is".to_owned(),
    })
}

fn lay_loopback(raw: &mut Raw) {
    let address = keys().find(|key| key.path == "http_server.address").expect("a key");
    raw.lay_flag(address, vec!["127.0.0.1".to_owned()]);
}

fn lay_file(raw: &mut Raw, path: &Path) -> Result<(), LoadError> {
    let name = path.display().to_string();
    let Some(format) = Format::of(&name) else {
        return Err(LoadError::NoFormat { path: path.to_owned() });
    };
    let text = fs::read_to_string(path);
    let text = text.map_err(|error| LoadError::Unreadable { path: path.to_owned(), error })?;
    raw.lay_file(&name, format, &text);
    Ok(())
}

impl fmt::Display for LoadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => write!(
                out,
                "{}: {error}\nmend: name a file that this user can read; longwire \
                 default-config writes one",
                path.display()
            ),
            Self::NoFormat { path } => write!(
                out,
                "{}: the name does not tell the format\nmend: let it end in .toml, .json, .yaml \
                 or .yml",
                path.display()
            ),
            Self::Faults(faults) => {
                for fault in faults {
                    writeln!(out, "{fault}")?;
                }
                let count = faults.len();
                let noun = if count == 1 { "fault" } else { "faults" };
                write!(out, "{count} {noun} in the configuration")
            }
            Self::OpenToTheWorld { address } => write!(
                out,
                "--dev opens everything to everybody, and {address} is reached from other \
                 machines\nmend: listen on 127.0.0.1, or add --dev-allow-remote if that is meant"
            ),
        }
    }
}

impl std::error::Error for LoadError {}
