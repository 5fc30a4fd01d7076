//! Acknowledgements: the procedure `longwire.ack`, which the server answers by itself.
//!
//! What it names goes to the channel's home, which forgets it. It is answered with an empty object
//! whatever was named: a client that says something twice, or late, has done nothing wrong.

use super::command::Refusal;
use super::effects::{Effect, Effects};
use super::questions::Question;
use super::state::{Session, Terms};
use super::under_way::Awaited;
use crate::limits::ACK_IDS_MAX;
use crate::protocol::{ErrorCode, Rpc};
use serde::Deserialize;

/// The procedure's name.
pub(super) const METHOD: &str = "longwire.ack";

/// What it is called with.
#[derive(Deserialize)]
struct Acknowledgement {
    channel: String,
    ids: Vec<String>,
}

impl Session {
    /// Calls the procedure.
    pub(super) fn acknowledge(
        &mut self,
        id: u32,
        request: &Rpc<'_>,
        terms: &Terms,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let data = request.data.bytes();
        let read: Option<Acknowledgement> =
            data.starts_with(b"{").then(|| serde_json::from_slice(data).ok()).flatten();
        let Acknowledgement { channel, ids } = read.ok_or(ErrorCode::BadRequest)?;
        if channel.is_empty() || ids.len() > ACK_IDS_MAX {
            return Err(ErrorCode::BadRequest.into());
        }
        if terms.rules.named(&channel)?.acknowledged.is_none() || self.user().is_empty() {
            return Err(ErrorCode::NotAvailable.into());
        }
        // Others than ours mean nothing.
        let ids = ids.iter().filter_map(|id| u64::from_str_radix(id, 16).ok()).collect();
        let slot = self.begin().await_answer(id, &channel, Awaited::Answer);
        let name = effects.text(channel.as_bytes());
        effects.push(Effect::Ask { slot, channel: name, question: Question::Acknowledge(ids) });
        Ok(())
    }
}
