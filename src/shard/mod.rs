//! One core's share of the server: its connections, and the loop that moves their bytes.
//!
//! ```text
//!  enter ring ─▶ drain ─▶ settle sends, release slots
//!      ▲                    │
//!      │                    ▼  each with a share of the turn
//!      │          mesh, jobs, accepts, ready connections, deadlines, fan-out
//!      │                    │
//!      └─ wakes ◀─ flush ◀──┘
//! ```
//!
//! Everything that decides is pure and stands in the files around `core`; `loop`, `arrivals`,
//! `outgoing` and `parking` do the I/O, and `wait` makes the thread. A shard shares nothing with
//! the others but the mesh and the seat counters.

mod absences;
mod admission;
mod adoption;
mod ahead;
mod arrivals;
mod arriving;
mod attendance;
mod back_end;
mod balance;
mod bitmap;
mod carriage;
mod carried;
mod channels;
mod client_codes;
mod client_counters;
mod client_words;
mod connection;
mod consultations;
mod copies;
mod core;
mod deadline;
mod deliveries;
mod departing;
mod departures;
mod encodings;
mod ending;
mod engine;
mod entering;
mod entrances;
mod estate;
#[path = "loop.rs"]
mod event_loop;
mod forms;
mod giving_back;
mod handover;
mod heartbeat;
mod heirloom;
mod held_back;
mod home;
mod inbound;
mod jobs;
mod legacy;
mod listeners;
mod listings;
mod live_settings;
mod log;
mod memory;
mod message;
mod moves;
mod newcomers;
mod outbound;
mod outgoing;
#[doc(hidden)]
pub mod output;
mod parking;
mod phase;
mod pins;
mod positions;
mod reading;
mod ready;
mod recent_words;
mod redeliveries;
mod replacing;
mod reports;
mod requests;
mod returns;
mod seats;
mod sections;
mod selections;
mod serial;
mod session_effects;
mod session_reading;
#[cfg(test)]
mod session_rig;
mod session_settings;
mod sessions;
mod set_aside;
mod settings;
mod sign_ins;
#[cfg(test)]
mod simulation;
pub mod slab;
mod stalls;
mod starvation;
mod stillness;
mod tellings;
#[cfg(test)]
mod tests;
mod unarmed;
mod user_commands;
mod wait;
mod way;
pub mod wheel;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) use self::admission::Passing;
pub(crate) use self::adoption::{AdoptionError, Ways};
pub(crate) use self::back_end::{BackEnd, in_words};
pub(crate) use self::channels::Channels;
pub(crate) use self::core::Core;
pub(crate) use self::event_loop::{Links, Loop, address_of};
pub(crate) use self::handover::{DoorSeats, Handed};
pub(crate) use self::jobs::{Jobs, PoolJob};
pub use self::live_settings::LiveSettings;
pub(crate) use self::message::{
    Consult, Consulted, Counted, HandOver, ListChannels, Listed, Message, TellUser, Version,
};
pub(crate) use self::seats::Seats;
pub use self::session_settings::{SessionSettings, SessionSettingsError};
pub use self::sessions::Sessions;
pub(crate) use self::settings::Settings;
pub(crate) use self::wait::with_executor;

/// Calls foreign code (the handler, a middleware, a job): its panic is a value.
fn guard<R>(call: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(call)).ok()
}
