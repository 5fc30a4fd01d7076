//! `longwire serve`: the server of the client protocol, from its configuration to its end.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use clap::Args;
use longwire::config::Serve;
use longwire::control::{Live, Site, SiteError};
use longwire::server::plan::Plan;
use longwire::{
    Config, Hooks, LiveSettings, Predecessor, Server, Sessions, Snapshot, StartError,
    SuccessionError,
};

use super::back_ends::proxies;
use super::load::Sources;
use super::log::{Log, LogArgs, Refilter};
use super::parts::{Parts, http_api, stream_terms, token_keys};
use super::screen::Screen;
use super::succession::SuccessionArgs;
use super::{failure, print, stopped};

/// How the server is configured.
#[derive(Args, Clone, Debug)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    sources: Sources,

    #[command(flatten)]
    succession: SuccessionArgs,
}

/// Runs the server until a signal stops it.
pub(crate) fn run(args: ServeArgs, log_args: LogArgs) -> ExitCode {
    let serve = match args.sources.load(&log_args) {
        Ok(serve) => serve,
        Err(error) => {
            // Whoever asked for the upgrade is told, too.
            if let Ok(Some(predecessor)) = Predecessor::of_this_process() {
                predecessor.refuse(&error);
            }
            return failure(&error);
        }
    };
    let (log, refilter) = match Log::start(&serve.log) {
        Ok(started) => started,
        Err(error) => return failure(&error),
    };
    if let Err(error) = longwire::sys::memory::forgo_huge_pages() {
        tracing::warn!(%error, "huge pages stay on: memory will grow in steps of 2 MiB");
    }
    let served = start(args, log_args, serve, refilter);
    log.finish();
    match served {
        Ok(counted) => stopped(&counted),
        Err(error) if is_rehearsed(&*error) => ExitCode::SUCCESS,
        Err(error) => failure(&error),
    }
}

/// Puts the parts together, and serves.
fn start(
    args: ServeArgs,
    log_args: LogArgs,
    serve: Serve,
    refilter: Refilter,
) -> Result<Snapshot, Box<dyn Error>> {
    let ServeArgs { sources, succession } = args;
    let mut predecessor = Predecessor::of_this_process()?;
    let prepared = prepare(Parts::of(&serve, sources.is_dev()), predecessor.as_mut());
    if let (Err(error), Some(predecessor)) = (&prepared, &predecessor) {
        predecessor.refuse(error);
    }
    let (config, plan, sessions, site) = prepared?;
    let handlers = Sessions::following(&sessions);
    let screen = Screen::new(&serve, plan, site.internal_address(), sources.is_dev());
    let live = site.live();
    let shard_count = plan.shard_count;
    let heritage = sessions.heritage();
    let mut reload =
        Reload { sources, log_args, running: serve, shard_count, refilter, sessions, live };
    let hooks = Hooks {
        serving: Some(Box::new(move |addresses| {
            print(&screen.text(addresses));
        })),
        reload: Some(Box::new(move || reload.run())),
        ..succession.hooks(predecessor, heritage)
    };
    Ok(Server::run_site(config, site, hooks, handlers)?)
}

/// All that can fail before there are shards.
fn prepare(
    parts: Parts,
    mut predecessor: Option<&mut Predecessor>,
) -> Result<(Config, Plan, LiveSettings, Site), Box<dyn Error>> {
    let Parts { mut config, sessions, mut site } = parts;
    config.give_back = Some(longwire::sys::memory::give_back);
    let plan = match &predecessor {
        Some(predecessor) => predecessor.plan(&config)?,
        None => Server::plan(&config)?,
    };
    site.connections_max = plan.connections_max.into();
    let heritage = predecessor.as_ref().map_or(&[][..], |predecessor| predecessor.heritage());
    let sessions = LiveSettings::inheriting(sessions, heritage)?;
    site.streaming.node = sessions.node();
    let internal = predecessor.as_mut().and_then(|one| one.take_internal_listener());
    let site = Site::after(internal, site).map_err(InternalPort)?;
    Ok((config, plan, sessions, site))
}

/// Whether this process was only to show that it could take over.
fn is_rehearsed(error: &(dyn Error + 'static)) -> bool {
    let rehearsed =
        |error: &StartError| matches!(error, StartError::Succession(SuccessionError::Rehearsed));
    error.downcast_ref().is_some_and(rehearsed)
}

/// The internal port is taken, or not ours to take.
#[derive(Debug)]
struct InternalPort(SiteError);

impl fmt::Display for InternalPort {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mend = "another --http-server-internal-port, or --http-server-internal-port off";
        write!(out, "{}\nmend: {mend}", self.0)
    }
}

impl Error for InternalPort {}

/// Reads the configuration again, and puts in force what can be.
struct Reload {
    sources: Sources,
    log_args: LogArgs,
    /// What is in force.
    running: Serve,
    shard_count: u32,
    refilter: Refilter,
    sessions: LiveSettings,
    live: Live,
}

impl Reload {
    fn run(&mut self) {
        let new = match self.sources.load(&self.log_args) {
            Ok(new) => new,
            Err(error) => {
                tracing::error!(%error, "the configuration stays as it is");
                return;
            }
        };
        let mut wanted = self.running.clone();
        let changes = wanted.adopt(&new);
        // What is in force now, with what could be exchanged: neither file has been checked so.
        if let Err(error) = wanted.check_channels() {
            tracing::error!(%error, "the configuration stays as it is: restart for all of it");
            return;
        }
        if let Err(error) = self.replace_sessions(&wanted) {
            tracing::error!(%error, "the configuration stays as it is");
            return;
        }
        self.running = wanted;
        self.refilter.set(&self.running.log.level);
        self.live.set_http_api(http_api(&self.running));
        self.live.set_tokens(token_keys(&self.running));
        self.live.set_proxies(proxies(&self.running));
        self.live.set_stream_terms(stream_terms(&self.running));
        for key in &changes.applied {
            tracing::info!(key = key.path, "changed");
        }
        for key in &changes.needs_restart {
            tracing::warn!(key = key.path, "changed, and needs a restart");
        }
        if changes.is_empty() {
            tracing::info!("the configuration is as it was");
        }
    }

    fn replace_sessions(&self, wanted: &Serve) -> Result<(), Box<dyn Error>> {
        let Parts { config, sessions, .. } = Parts::of(wanted, self.sources.is_dev());
        sessions.check_shares(&config, self.shard_count)?;
        Ok(self.sessions.replace(sessions)?)
    }
}
