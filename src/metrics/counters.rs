//! The counters of one shard.

use std::ops::AddAssign;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What happened since the start. Sum those of all shards with `+=`.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        impl Counters {
            /// How many there are.
            pub const COUNT: usize = [$(stringify!($name)),+].len();

            /// All values, in the order of this page.
            pub fn values_mut(&mut self) -> [&mut u64; Self::COUNT] {
                [$(&mut self.$name),+]
            }

            /// Names and values, in the order of this page.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),+].into_iter()
            }

            /// Names, what they count, and values, in the order of this page.
            pub fn described(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), concat!($($doc),+), self.$name)),+].into_iter()
            }
        }

        impl AddAssign<&Self> for Counters {
            fn add_assign(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

counters! {
    /// Sockets accepted by this shard, those it passed on included.
    accepted,
    /// Connections that the control thread made for clients over HTTP.
    introduced,
    /// Sockets that came from a fuller shard.
    passed_here,
    /// Sockets passed to an emptier shard.
    passed_on,
    /// Sockets that could not be passed, because the other shard's socket was full.
    pass_failures,
    /// Connections told 503, or dropped, because every seat was taken.
    refused_full,
    /// Connections closed without an answer, because the slots for answers were taken too.
    dropped_full,
    /// Accepts that ended because descriptors or memory ran out, and were armed again later.
    accept_backoffs,
    /// Times accepting paused because accepted sockets waited for a turn.
    accept_pauses,
    /// Upgrades refused, for whatever reason.
    upgrades_refused,
    /// Connections whose request was for no WebSocket, handed over to the control thread.
    http_handed_over,
    /// Such connections told 503, because the control thread has as many as it may have.
    http_refused_full,
    /// Connections closed because no header of the PROXY protocol came first where it has to.
    proxy_headers_refused,
    /// Request heads that did not arrive in time.
    handshake_timeouts,
    /// Connections opened.
    opened,
    /// Slots and descriptors released.
    released,
    /// Closed by the application.
    closed_application,
    /// Closed by the peer's Close frame.
    closed_peer,
    /// Ended by the peer without a Close frame.
    closed_vanished,
    /// Closed because the peer broke RFC 6455 or a limit.
    closed_violation,
    /// Closed because nothing was heard for the route's idle time.
    closed_idle,
    /// Cut because pings went unanswered.
    closed_unresponsive,
    /// Cut because the peer did not read.
    closed_overflow,
    /// Closed because the handler panicked.
    closed_panic,
    /// Closed because the server stops.
    closed_shutdown,
    /// Connections cut because they were still there at the end of the drain.
    drain_cuts,
    /// Frames and messages that broke a rule or a limit.
    violations,
    /// Connections closed by the idle deadline.
    idle_timeouts,
    /// Connections cut by the pong deadline.
    pong_timeouts,
    /// Connections closed because the application's heartbeat was not answered.
    message_pong_timeouts,
    /// Connections cut because their backlog did not move.
    write_timeouts,
    /// Closes that the peer did not finish in time.
    close_timeouts,
    /// Closes that were complete, but for the peer's FIN, which did not come in time.
    lingers_ended,
    /// Bytes received.
    received_bytes,
    /// Frames received.
    frames_received,
    /// Messages received.
    messages_received,
    /// Bytes of their payloads.
    messages_received_bytes,
    /// Messages sent to single connections.
    messages_sent,
    /// Bytes of them, with the headers of their frames.
    messages_sent_bytes,
    /// Sends submitted, each with one or more messages.
    sends,
    /// Sends that came short, so that a backlog began or went on.
    sends_short,
    /// Sends that failed because the connection was gone.
    send_errors,
    /// Receives that failed because the connection was gone.
    receive_errors,
    /// Connections closed because their output reached the bound.
    output_overflows,
    /// Of those, cut without a Close frame, because the peer did not read.
    overflow_cuts,
    /// Publications that slow members were not sent, the oldest of those that waited: by the
    /// policy of their channel, or because too many waited.
    overflow_dropped_oldest,
    /// Publications that slow members were not sent because a later one of their channel waited.
    overflow_conflated,
    /// Connections cut because the shard's backlogs together reached theirs.
    backlog_budget_cuts,
    /// Connections closed because partial input of the shard reached its bound.
    partial_budget_closes,
    /// Clients disconnected with 3013 because the shard had no room for their waiting commands.
    deferred_budget_closes,
    /// Pieces of output that did not fit the turn's arena and were allocated.
    arena_overflows,
    /// Pings sent.
    pings_sent,
    /// Heartbeats sent as messages of the application's.
    message_pings_sent,
    /// Pongs sent.
    pongs_sent,
    /// Pongs received.
    pongs_received,
    /// Pings of one read that were answered by a later one's pong.
    pongs_coalesced,
    /// Joins refused by a limit.
    joins_refused,
    /// Publications taken from the application.
    published,
    /// Publications, and questions of back ends, refused because too many waited for homes.
    publishes_refused,
    /// Publications of back ends that nobody waited for any more when their turn came: answered
    /// as refused, and not made.
    publishes_late,
    /// Publications that members on this shard missed, because a queue was full.
    publications_missed,
    /// Publications of back ends that were not made, because their version was no newer than the
    /// last one of the channel.
    publications_outdated,
    /// Publications that reached this shard for an interest that had ended, and were nobody's.
    publications_stale,
    /// Publications, or runs of them, that were put into the other kind of message, by the home of
    /// their channel or by a shard whose home did not know yet that somebody reads it.
    publications_translated,
    /// Publications × users for whom one was retained until it is acknowledged.
    acks_retained,
    /// Those of them that were acknowledged.
    acks_acknowledged,
    /// Times that one was sent again.
    acks_redelivered,
    /// Times that it was to be sent again, and was put off for want of room.
    acks_put_off,
    /// Those that were given up: too many of a user's in a channel, too large, or too old.
    acks_lost,
    /// Publications × users for whom there was no room to retain one.
    acks_unretained,
    /// Publications × users that were given up, and of which the user will not be told when it
    /// comes back, because too many others have lost some.
    acks_untold,
    /// Publications that their channel's home has compared with the one before, for members who
    /// take deltas.
    publications_compared,
    /// Deliveries that were not made because the member reads another kind of message.
    publications_unreadable,
    /// Publications that were given an offset in their channel's stream.
    publications_kept,
    /// Publications dropped from streams before their time, or never kept, because all together, or
    /// the streams, were over their bound.
    publications_evicted,
    /// Streams dropped before their time, because there were too many.
    streams_evicted,
    /// Lists of publications read from streams.
    stream_reads,
    /// Of those, lists that were at hand, because somebody had read the same before.
    stream_reads_repeated,
    /// Publications sent from their stream to shards that had missed them, once for each shard.
    publications_resent,
    /// Gap notices queued to shards that had missed publications.
    gaps_sent,
    /// Clients refused entry to a channel because too many are present.
    presence_refused,
    /// Homes that did not hear that a client's info has changed, because a queue was full: they
    /// show what it was until it changes again.
    presence_unheard,
    /// Joins and leaves that nobody was told of, because there were too many, or a queue was full.
    joins_dropped,
    /// Requests to other shards refused, because as many waited for room as may.
    requests_refused,
    /// Interest of shards that a home could not note.
    interest_refused,
    /// Connections of users that were not let in: by their limit, or for want of room.
    sign_ins_refused,
    /// Deliveries of publications to members, in messages.
    deliveries,
    /// Bytes of them, with the headers of their frames.
    deliveries_bytes,
    /// Questions for these numbers that were refused, because too many waited for an answer.
    snapshots_refused,
    /// Mesh messages received.
    mesh_received,
    /// Mesh sends refused because the queue was full.
    mesh_refused,
    /// Wakes posted to other shards.
    wakes_sent,
    /// Times that a core which shards share was passed on to the next with long work.
    cores_passed,
    /// Clients of the protocol that connected.
    client_connects,
    /// Of those, who came over an HTTP stream.
    client_connects_http_stream,
    /// Of those, who came over an event stream.
    client_connects_sse,
    /// Of those that connected, how many are gone.
    client_ends,
    /// Of those, who had an HTTP stream.
    client_ends_http_stream,
    /// Of those, who had an event stream.
    client_ends_sse,
    /// Commands of theirs.
    client_commands,
    /// Replies to them, errors included.
    client_replies,
    /// Publishes of theirs that were taken.
    client_publishes,
    /// Subscriptions that began.
    client_subscribes,
    /// Subscriptions that ended before their connection, whoever ended them.
    client_unsubscribes,
    /// Of those that began, how many recovered what their clients had missed.
    client_recoveries,
    /// Of those that began, how many could not recover it.
    client_recovery_failures,
    /// Of the failures, those where what was missed did not fit the client's unsent output.
    client_recoveries_oversized,
    /// Lists for replies, of publications or clients, that were put into words.
    client_lists,
    /// Lists for replies for which the words were there already.
    client_lists_shared,
    /// Subscriptions that ended because publications were lost (2500).
    unsubscribes_insufficient_state,
    /// Error replies: the server could not do it now (100).
    errors_internal,
    /// Error replies: the namespace is not configured (102).
    errors_unknown_channel,
    /// Error replies: the client may not do this (103).
    errors_permission_denied,
    /// Error replies: the client is in the channel (105).
    errors_already_subscribed,
    /// Error replies: the client is in as many channels as it may be (106).
    errors_limit_exceeded,
    /// Error replies: the command makes no sense (107).
    errors_bad_request,
    /// Error replies: the feature is switched off (108).
    errors_not_available,
    /// Error replies: the token has expired, or is not valid yet (109).
    errors_token_expired,
    /// Error replies: the connection would have expired before it began (110).
    errors_expired,
    /// Error replies: too much at once (111).
    errors_too_many_requests,
    /// Error replies with another code.
    errors_other,
    /// Error replies in the words of back ends.
    errors_application,
    /// Clients disconnected because the server stopped (3001).
    disconnects_shutdown,
    /// Clients disconnected because they brought no new token in time (3005).
    disconnects_expired,
    /// Clients disconnected because they did not read as fast as they were sent to (3008).
    disconnects_slow,
    /// Clients disconnected because they did not answer a ping (3012).
    disconnects_no_pong,
    /// Clients disconnected because they sent more before an answer than may wait (3013).
    disconnects_too_many_requests,
    /// Clients disconnected over a token (3500).
    disconnects_invalid_token,
    /// Clients disconnected because they broke the protocol, or may not connect (3501).
    disconnects_bad_request,
    /// Clients disconnected because they did not connect in time (3502).
    disconnects_stale,
    /// Clients disconnected because their user has as many connections as it may have (3504).
    disconnects_connection_limit,
    /// Clients disconnected because a publication cannot be said in their format (3506).
    disconnects_inappropriate_protocol,
    /// Clients disconnected because their token names no user, and must (3507).
    disconnects_permission_denied,
    /// Clients disconnected over a command or a claim that is not served (3508).
    disconnects_not_available,
    /// Clients disconnected with another code of the protocol.
    disconnects_other,
    /// Questions of connections to the control thread.
    consults,
    /// Of connections that asked it too much at once, or found no room in the queue.
    consults_refused,
    /// Of those asked, how many nobody waited for any more when they were answered.
    consults_cancelled,
    /// Of those asked, how many had no answer.
    consults_unanswered,
    /// Reports of handlers that were taken up for the control thread: events for back ends.
    reports,
    /// Reports that were lost, because too many waited for the control thread.
    reports_refused,
    /// Events that the back end has taken.
    events_delivered,
    /// Events that were lost: too many waited for the back end, they were too old, or the server
    /// has ended.
    events_lost,
    /// Posts of events that were not taken, and are made again.
    events_retries,
    /// Tokens whose signatures by public keys were checked for sessions.
    tokens_checked,
    /// Tokens that were known to be signed, because somebody has brought them before.
    tokens_known,
    /// Tokens that could not be checked, for want of the keys.
    tokens_unavailable,
    /// Clients that commands of back ends have found, once for each command.
    user_commands,
    /// Commands of back ends for users' clients that were refused, because too many were under way.
    user_commands_refused,
    /// Clients told to come again, because commands that may be meant for them were said before it
    /// was known whose they are, and are not kept any more.
    user_commands_forgotten,
    /// Upgrades of this server to another process that were begun.
    handovers_begun,
    /// Rehearsals of an upgrade.
    handovers_rehearsed,
    /// Upgrades by which this process, and those that it comes after, have taken over.
    handovers_committed,
    /// Milliseconds for which nothing was served meanwhile.
    handovers_still_ms,
    /// Upgrades that were asked for while there could be none: another one was under way, the
    /// server was stopping, or what it has cannot be handed over.
    handovers_declined,
    /// Upgrades given up: the new process could not be started.
    handovers_not_started,
    /// Upgrades given up: the new process said why it cannot.
    handovers_refused,
    /// Upgrades given up: the new process ended without a word.
    handovers_died,
    /// Upgrades given up: the new process says what is not understood.
    handovers_not_understood,
    /// Upgrades given up: they took too long.
    handovers_late,
    /// Upgrades given up: some connections cannot be handed over.
    handovers_not_portable,
    /// Upgrades given up: a shard, or a way between the processes, broke.
    handovers_broken,
    /// Upgrades given up: the server was to stop.
    handovers_stopped,
    /// Times a shard waited for the other process to take what was sent.
    handover_waits,
    /// Copies of connections' descriptors that were sent ahead to another process, those of
    /// rehearsals and of upgrades that were given up among them.
    copied_ahead,
    /// Of those, how many belonged to connections that have ended meanwhile.
    copies_ended,
    /// Connections handed over to another process.
    handed_over,
    /// Of those, how many by copies that were sent ahead: the others have come since.
    handed_over_copied,
    /// Connections that ended with the process that handed the others over: those of streams over
    /// HTTP.
    not_handed_over,
    /// Connections taken over from another process.
    taken_over,
    /// What was taken over with them and belongs to nobody: members that their channel's home does
    /// not know, connections that their user's home cannot count.
    heirlooms_unmatched,
    /// Counts of another process that have no name here.
    counts_dropped,
    /// Connections that came from another shard as they were, and are counted there as opened.
    moved_here,
    /// Connections that went on in another shard.
    moved_away,
    /// Of them, those that went because their shard had hardly a seat left.
    moved_from_full,
    /// And those that went because its core was much busier than another.
    moved_from_hot,
    /// Connections that stayed because the other shard had no room for them, or none on the way.
    moves_refused,
    /// Connections that stayed because something happened on them just as they were to go.
    moves_given_up,
    /// Connections that were lost between two shards: an error of this program.
    moves_lost,
    /// Requests of the HTTP API that waited while everything stood still for another process.
    http_held,
    /// Requests of the HTTP API that were answered by the process that has taken over, through this
    /// one.
    http_sent_on,
    /// HTTP requests that were not answered, because another process has taken over.
    http_lost,
    /// Jobs given to the pool.
    jobs_started,
    /// Jobs refused because the pool was full.
    jobs_refused,
    /// Jobs whose connection was gone before they were done.
    jobs_cancelled,
    /// Calls of the handler that panicked.
    handler_panics,
    /// Steps of the loop in which the handler took longer than the stall threshold.
    stalls,
    /// Microseconds spent in such steps.
    stall_us,
    /// Steps that took as long because the thread of the shard waited for a core.
    starved_steps,
    /// Turns of the loop.
    turns,
    /// Waits of the shard that lasted 2 ms or more.
    parks,
    /// Calls of `io_uring_enter`.
    enters,
    /// Completions drained.
    completions,
    /// Times the completion queue had spilled over.
    completion_overflows,
    /// Times the allocator was asked to give memory of closed connections back to the system.
    memory_given_back,
    /// Polls that the kernel ended by itself and that were armed again.
    polls_rearmed,
    /// Polls that the kernel refused, for want of memory, and that are armed again after a rest.
    polls_refused,
}
