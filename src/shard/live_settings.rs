//! Settings of sessions that are replaced while a server goes by them: one end that sends, and
//! the shards' ends that follow.

use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::watch;

use super::session_settings::{SessionSettings, SessionSettingsError};
use crate::handler::ShardLimits;
use crate::protocol::Lineage;
use crate::session::SessionKey;

/// Settings that may be replaced while they are in force: all shards take them with the next
/// message that they read.
///
/// Rules, limits, origins and the stale delay hold from then on, the first two also for those who
/// are connected. Path, pings and idle time wait for a restart.
#[derive(Debug)]
pub struct LiveSettings {
    settings: watch::Sender<Arc<SessionSettings>>,
    lineage: Lineage,
    session_key: SessionKey,
}

impl LiveSettings {
    /// The first settings, if a server can go by them.
    pub fn new(settings: SessionSettings) -> Result<Self, SessionSettingsError> {
        Self::inheriting(settings, &[])
    }

    /// The same for a process that takes sessions over from one with this
    /// [`heritage`](Self::heritage): clients keep their ids.
    pub fn inheriting(
        settings: SessionSettings,
        heritage: &[u8],
    ) -> Result<Self, SessionSettingsError> {
        settings.validate()?;
        let inherited = heritage.try_into().ok().map(u64::from_le_bytes);
        let lineage = inherited.unwrap_or_else(|| RandomState::new().hash_one(0));
        let lineage = Lineage::new(lineage);
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|_| SessionSettingsError::NoRandomBytes)?;
        let session_key = SessionKey::new(key);
        Ok(Self { settings: watch::Sender::new(Arc::new(settings)), lineage, session_key })
    }

    /// What a process that takes the sessions over has to know beside them.
    pub fn heritage(&self) -> Vec<u8> {
        self.lineage.bits().to_le_bytes().to_vec()
    }

    /// What this node is called where clients over HTTP say which node they mean.
    pub fn node(&self) -> String {
        self.lineage.to_string()
    }

    /// What the names of sessions over HTTP are made with.
    pub(super) fn session_key(&self) -> SessionKey {
        self.session_key.clone()
    }

    /// The process's part of client ids.
    pub(super) fn lineage(&self) -> Lineage {
        self.lineage
    }

    /// Replaces them; if a server cannot go by the new ones, the old ones stay.
    pub fn replace(&self, settings: SessionSettings) -> Result<(), SessionSettingsError> {
        settings.validate()?;
        self.settings.send_replace(Arc::new(settings));
        Ok(())
    }

    /// The end of one shard.
    pub(super) fn follow(&self) -> InForce {
        let mut source = self.settings.subscribe();
        let settings = Arc::clone(&source.borrow_and_update());
        InForce { settings, source, has_new_limits: false }
    }
}

/// The settings that a shard's sessions go by, and where new ones come from.
#[derive(Clone)]
pub(super) struct InForce {
    settings: Arc<SessionSettings>,
    source: watch::Receiver<Arc<SessionSettings>>,
    /// The shard has yet to be told limits that came with them.
    has_new_limits: bool,
}

impl Deref for InForce {
    type Target = SessionSettings;

    fn deref(&self) -> &SessionSettings {
        &self.settings
    }
}

impl InForce {
    /// Takes new settings, and says whether there are any: one atomic load if there are not.
    pub(super) fn look(&mut self) -> bool {
        if !self.source.has_changed().unwrap_or(false) {
            return false;
        }
        let new = Arc::clone(&self.source.borrow_and_update());
        // Path and pings are the shard's, and stay as they are: what clients are told of them too.
        let SessionSettings { path, ping_interval, pong_timeout, .. } = &*self.settings;
        let settings = SessionSettings {
            path: path.clone(),
            ping_interval: *ping_interval,
            pong_timeout: *pong_timeout,
            ..(*new).clone()
        };
        self.settings = Arc::new(settings);
        self.has_new_limits = true;
        true
    }

    /// Limits that have changed and that the shard is to be told, once.
    pub(super) fn take_new_limits(&mut self) -> Option<ShardLimits> {
        std::mem::take(&mut self.has_new_limits).then(|| self.settings.shard_limits())
    }
}
