//! What a back end has done to a user's clients, as it travels from the control thread to every
//! shard (20).
//!
//! It is a word between parts of one process, in JSON like the command it comes from.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{ClientId, DisconnectCode};

/// A command about clients of one user.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserCommand {
    /// Which of the user's clients are meant.
    pub clients: Selection,
    /// What is done to them.
    pub action: UserAction,
}

/// Some clients of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Only the client of this name; empty for all.
    pub client: String,
    /// Only the client of this session, which those of a WebSocket do not have; empty for all.
    pub session: String,
    /// Not those of these names.
    pub spared: Vec<String>,
}

/// What is done to a client.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum UserAction {
    /// Its connection is closed.
    Disconnect {
        /// The code that its client goes by.
        code: u16,
        /// What a person goes by.
        reason: String,
    },
    /// It is put into a channel.
    Subscribe(Box<UserSubscription>),
    /// It is put out of a channel.
    Unsubscribe {
        /// The channel.
        channel: String,
    },
    /// The token of this name is not to be believed any more, nor who came with it.
    RevokeToken {
        /// Its name.
        id: String,
        /// How long.
        term: Term,
    },
    /// The same for the user's tokens that were issued before some time.
    RevokeTokens {
        /// Those for this channel; all if it is empty.
        channel: String,
        /// In seconds since the Unix epoch.
        issued_before_s: u64,
        /// How long.
        term: Term,
    },
    /// Its connection is said to live anew.
    Refresh {
        /// It ends now.
        expired: bool,
        /// When it ends, in seconds since the Unix epoch; 0 is never.
        expires_s: u64,
        /// What others are shown of it, if anything is said of that: JSON.
        info: Option<Box<RawValue>>,
    },
}

/// From when and until when something holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// When it was said, in seconds since the Unix epoch.
    pub since_s: u64,
    /// When it ends, in the same way; 0 is never.
    pub until_s: u64,
}

/// A subscription as a back end makes it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct UserSubscription {
    /// The channel.
    pub channel: String,
    /// What others are shown of the client there: JSON.
    pub info: Option<Box<RawValue>>,
    /// What the client is told of it: JSON.
    pub data: Option<Box<RawValue>>,
    /// The place in the stream from which it recovers: an offset in an epoch.
    pub since: Option<(u64, String)>,
    /// When it ends, in seconds since the Unix epoch; 0 is never.
    pub expires_s: u64,
    /// Options of the channel that are others for it.
    pub options: OptionsForUser,
}

/// Options of a channel that a back end may set for a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OptionsForUser {
    /// It is seen there by others.
    pub presence: Option<bool>,
    /// Others are told that it comes and goes.
    pub join_leave: Option<bool>,
    /// It is told of others that come and go.
    pub force_push_join_leave: Option<bool>,
    /// It may recover what it misses.
    pub force_recovery: Option<bool>,
    /// Its position is known.
    pub force_positioning: Option<bool>,
}

impl UserAction {
    /// Closes connections as the server does it where nothing is said of why.
    pub fn disconnect() -> Self {
        let code = DisconnectCode::ForceDisconnect;
        Self::Disconnect { code: code.code(), reason: code.text().to_owned() }
    }
}

impl Selection {
    /// Whether a client is one of those who are meant.
    pub fn holds(&self, client: ClientId, session: Option<&str>) -> bool {
        let is = |name: &str| ClientId::parse(name) == Some(client);
        (self.client.is_empty() || is(&self.client))
            && (self.session.is_empty() || session == Some(self.session.as_str()))
            && !self.spared.iter().any(|name| is(name))
    }
}

impl UserCommand {
    /// The word that says it.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }

    /// The command that a word says; `None` if it is none of ours.
    pub fn decode(word: &[u8]) -> Option<Self> {
        serde_json::from_slice(word).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_holds_who_fits_all_that_it_says() {
        let ids = [1, 2].map(|random| ClientId { random, lineage: super::super::Lineage::ZERO });
        let [first, second] = ids.map(|id| id.to_string());
        let all = Selection::default();
        let one = Selection { client: first.clone(), ..all.clone() };
        let nobody = Selection { client: "first".to_owned(), ..all.clone() };
        let others = Selection { spared: vec![second, "x".to_owned()], ..all.clone() };
        let none = Selection { spared: vec![first], ..one.clone() };
        let session = Selection { session: "s".to_owned(), ..all.clone() };
        for (selection, held) in [
            (all, [true, true]),
            (one, [true, false]),
            (nobody, [false, false]),
            (others, [true, false]),
            (none, [false, false]),
            (session.clone(), [false, false]),
        ] {
            assert_eq!(ids.map(|id| selection.holds(id, None)), held, "{selection:?}");
        }
        assert!(session.holds(ids[0], Some("s")) && !session.holds(ids[0], Some("t")));
    }

    #[test]
    fn a_command_comes_back_from_its_word() {
        let clients = Selection { client: "a\"".to_owned(), ..Selection::default() };
        let json = |text: &str| RawValue::from_string(text.to_owned()).ok();
        let subscription = UserSubscription {
            channel: "a".to_owned(),
            info: json("{\"a\": 1}"),
            since: Some((7, "e".to_owned())),
            options: OptionsForUser { presence: Some(false), ..OptionsForUser::default() },
            ..UserSubscription::default()
        };
        let term = Term { since_s: 7, until_s: 0 };
        for action in [
            UserAction::disconnect(),
            UserAction::Subscribe(Box::new(subscription)),
            UserAction::Unsubscribe { channel: "b".to_owned() },
            UserAction::RevokeToken { id: "t".to_owned(), term },
            UserAction::RevokeTokens { channel: String::new(), issued_before_s: 3, term },
            UserAction::Refresh { expired: false, expires_s: 9, info: json("[ ]") },
        ] {
            let command = UserCommand { clients: clients.clone(), action };
            let decoded = UserCommand::decode(&command.encode());
            assert_eq!(format!("{decoded:?}"), format!("{:?}", Some(command)));
        }
        assert!(UserCommand::decode(b"{}").is_none());
    }
}
