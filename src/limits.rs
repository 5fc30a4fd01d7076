//! Every bound and byte budget of longwire, each with its reason, and the relations between them.
//!
//! Nothing in the process grows without one of these. A number that is only a default is named
//! `…_DEFAULT` and can be configured; the others are fixed.

use std::time::Duration;

/// Bytes that a shard reads from one connection by one `recv(2)`, and the size of the one buffer
/// that all its connections share.
///
/// 64 KiB empties a default loopback receive queue in one call and stays inside a core's L2.
pub const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;

// --- RFC 6455, opening handshake ------------------------------------------------------------

/// Bytes of a request head (request line, headers, empty line), as nginx's one large buffer.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Bytes of one line of a request head: a URL with a token in its query fits.
pub const HEAD_LINE_BYTES_MAX: usize = 4 * 1024;

/// Headers of one request; browsers send about 15, proxies add a few.
pub const HEAD_LINES_MAX: usize = 64;

const _: () = assert!(HEAD_LINE_BYTES_MAX <= HEAD_BYTES_MAX);
const _: () = assert!(HEAD_BYTES_MAX <= RECEIVE_BUFFER_BYTES);

// --- proxies --------------------------------------------------------------------------------

/// Bytes of a line of the PROXY protocol v1, its line break included (the specification's own).
pub const PROXY_LINE_BYTES_MAX: usize = 107;

/// Bytes of a header of the PROXY protocol v2: addresses of Unix sockets, and certificates' names
/// and what clouds add behind them.
pub const PROXY_HEADER_BYTES_MAX: usize = 2048;

/// Addresses of one `X-Forwarded-For` that are looked at: more proxies in a row do not exist.
pub const FORWARDED_HOPS_MAX: usize = 32;

/// Addresses that one server listens on.
pub const LISTENERS_MAX: usize = 16;

/// Rest before the next try to deal a socket, when no shard has taken the earlier ones yet.
pub const DEAL_PAUSE: Duration = Duration::from_millis(2);

const _: () = assert!(PROXY_LINE_BYTES_MAX <= PROXY_HEADER_BYTES_MAX);
const _: () = assert!(PROXY_HEADER_BYTES_MAX <= RECEIVE_BUFFER_BYTES);

// --- RFC 6455, messages ---------------------------------------------------------------------

/// Bytes of one message, assembled, unless a route says otherwise (Centrifugo's default).
pub const MESSAGE_BYTES_DEFAULT: usize = 64 * 1024;

/// Fragments of one message. Endless empty continuations are the attack (Netty CVE-2014-0193).
pub const FRAGMENTS_MAX: u32 = 1024;

/// Bytes that fragments of honest peers have at least, on average. A route that takes long
/// messages takes more fragments than [`FRAGMENTS_MAX`]: one for each so many bytes.
///
/// 64 bytes is the smallest fragment with which the Autobahn suite sends its 4 MiB messages.
pub const FRAGMENT_BYTES_TYPICAL_MIN: usize = 64;

const _: () = assert!(MESSAGE_BYTES_DEFAULT / FRAGMENT_BYTES_TYPICAL_MIN <= FRAGMENTS_MAX as usize);
// --- hub: order and fan-out -----------------------------------------------------------------

/// Shards of one process: a channel's interested shards are one bit each, for which a home pays 16
/// bytes per channel; the mesh has as many members, and some of them are threads without a shard.
pub const SHARDS_MAX: u32 = 120;

/// Bytes of a channel's name (Centrifugo's `channel_max_length`).
pub const CHANNEL_NAME_BYTES_MAX: usize = 255;

/// Channels that have members on one shard.
///
/// A personal channel for each of a million connections on one shard, at about 100 B and the
/// length of its name: 130 MB. One with frames or losses to tell has a queue of 200 B besides.
pub const CHANNELS_PER_SHARD_MAX: u32 = 1 << 20;

/// Channels that one home keeps in order.
///
/// Names spread by hash, so a home holds about as many as a shard has members in; twice that
/// leaves room for the spread, and bounds names that were chosen to fall on one home.
pub const CHANNELS_PER_HOME_MAX: u32 = 2 * CHANNELS_PER_SHARD_MAX;

/// Bytes of a user's id, as of a channel's name: an e-mail address has 254 at most.
pub const USER_ID_BYTES_MAX: usize = 255;
const _: () = assert!(USER_ID_BYTES_MAX == CHANNEL_NAME_BYTES_MAX); // one table keeps both

/// Users whose connections one home counts, at about 40 B and the length of the id each.
///
/// A user for each of a million connections, and twice that for the spread, as for channels.
pub const USERS_PER_HOME_MAX: u32 = CHANNELS_PER_HOME_MAX;

/// Memberships (connection × channel) on one shard, at most 24 bytes each: 96 MiB.
pub const MEMBERSHIPS_PER_SHARD_MAX: u32 = 1 << 22;

/// Bytes that one fan-out run may hold: what is copied together and leaves as one send.
pub const RUN_BYTES_MAX: usize = 16 * 1024;

/// Frames of one run: 64 references are a kilobyte of chain, and 16 KiB of the smallest messages.
pub const RUN_FRAMES_MAX: usize = 64;

/// Bytes of frames that wait on one channel: 16 full runs. More is a channel that is published
/// to faster than its members can be written to, and waiting would not help it.
pub const CHANNEL_QUEUE_BYTES_MAX: usize = 16 * RUN_BYTES_MAX;

/// Frames that wait on one channel: 16 full runs.
pub const CHANNEL_QUEUE_FRAMES_MAX: usize = 16 * RUN_FRAMES_MAX;

/// Bytes of frames that wait on all channels of one shard, bookkeeping included.
pub const FANOUT_QUEUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Sends that one channel may make before the next channel with a run has its share.
///
/// An eighth of a turn's 512: seven other channels are served in the turn of the largest.
pub const FANOUT_SHARE: u32 = 64;

/// Members of one channel on one shard from which on sending to them is long work, which the shards
/// that share a core do one after the other.
pub const FANOUT_LONG_MIN: u32 = 128;
const _: () = assert!(FANOUT_LONG_MIN as usize == FANOUT_SHARED_TURN_SHARE);

/// Channels without anything to send that one call may pass over: as many members may leave at
/// once as a turn can be spent on, each from a channel of its own that waits for its turn.
pub const FANOUT_SKIPS_MAX: u32 = 64;

/// Members passed over at a time because a frame that tells of others' coming and going is not for
/// them: a look costs a hundredth of a send.
pub const HEARERS_LOOKS_MAX: u32 = 512;

/// Queues of channels that went idle, kept for the next channel that is published to, so that a
/// publication to an idle channel allocates nothing. About 4 KiB each.
pub const BACKLOGS_SPARE_MAX: usize = 64;

/// Streams that one home keeps, at about 130 B and the length of the name each: one for each of its
/// channels. They outlive their channels by weeks (Centrifugo's `history_meta_ttl`), so those not
/// used for longest make room for others.
pub const STREAMS_PER_HOME_MAX: u32 = CHANNELS_PER_HOME_MAX;

/// Bytes of all publications that one home keeps in its streams, what keeps them there included:
/// what 64,000 connections take in the kernel, or 2,500 channels of 100 publications of 1 KiB.
pub const STREAM_BYTES_PER_HOME_MAX: usize = 256 * 1024 * 1024;
const _: () = assert!(STREAM_BYTES_PER_HOME_MAX >= 16 * PUBLICATION_BYTES_MAX);

/// Clients present in the channels of one home, at 64 B each and what is shown of them: as many as
/// a shard has memberships.
pub const PRESENT_PER_HOME_MAX: u32 = MEMBERSHIPS_PER_SHARD_MAX;

/// Lists of who is present that a home keeps until somebody comes or goes. All of them together
/// have no more entries than there are clients present.
pub const PRESENCE_LISTS_KEPT_MAX: usize = 64;

/// Joins and leaves of one channel that its members are told of within a tick. At about 200 B each
/// they fit one run of [`RUN_BYTES_MAX`], so who listens is sent one message a tick at most.
pub const JOINS_PER_TICK_MAX: usize = 64;

/// Joins and leaves of all channels of a home that wait for the next tick, at 40 B each and what
/// they show: a million connections that come back within a minute make a thousand in a tick.
pub const JOINS_WAITING_MAX: usize = 64 * 1024;

/// Lists of publications that a home keeps for others who read the same. Who comes back in a crowd
/// asks for the same as some before it did, in any order of the channels, and these are looked
/// through within a microsecond.
pub const READS_KEPT_MAX: usize = 1024;

const _: () = assert!(SHARDS_MAX <= 1 << 8); // a `ShardId` is a byte
const _: () = assert!(RUN_BYTES_MAX <= CHANNEL_QUEUE_BYTES_MAX);
const _: () = assert!(CHANNEL_QUEUE_BYTES_MAX < FANOUT_QUEUE_BYTES_MAX);
// --- Slab and wheel of a shard --------------------------------------------------------------

/// Entries of one chunk of a shard's slab: the unit in which its memory comes and goes.
///
/// 4,096 × 96 B is 384 KiB: small against a shard's load, large against an allocation's cost.
pub const SLAB_CHUNK_ENTRIES: u32 = 4096;

/// Entries of one slab at most, so that the bitmap of its chunks is 64 words.
///
/// A shard's descriptor table ends long before (`RLIMIT_NOFILE` is a million by default).
pub const SLAB_ENTRIES_MAX: u32 = 64 * 64 * SLAB_CHUNK_ENTRIES;

/// The grain of all deadlines of connections: a 25 s heartbeat has 195 phases of this length.
pub const WHEEL_TICK_MS: u64 = 128;

/// Slots of a shard's wheel: a rotation of 17 minutes, beyond which a node costs one look each.
///
/// Heartbeats, handshakes and closes lie within; 64 KiB per shard.
pub const WHEEL_SLOTS: u32 = 8192;

const _: () = assert!(SLAB_CHUNK_ENTRIES.is_power_of_two());
const _: () = assert!(SLAB_ENTRIES_MAX < u32::MAX - 1); // two values are links of the wheel
const _: () = assert!(WHEEL_SLOTS.is_power_of_two());
// --- start-up and the operating system ------------------------------------------------------

/// Connections that may wait for `accept` on one listener; the kernel cuts it to
/// `net.core.somaxconn`, whose default is the same number.
pub const LISTEN_BACKLOG: u32 = 4096;

/// Times that a busy port is tried: after SIGKILL it stays busy while the old ring is torn down,
/// for milliseconds (6.3 ms seen).
pub const BIND_ATTEMPTS_MAX: u32 = 26;

/// Pause between two attempts to bind. All pauses together are 250 ms: a port that is still busy
/// then belongs to somebody.
pub const BIND_PAUSE_MS: u64 = 10;
const _: () = assert!((BIND_ATTEMPTS_MAX as u64 - 1) * BIND_PAUSE_MS == 250);

/// Descriptors in one `SCM_RIGHTS` message: the kernel's `SCM_MAX_FD`.
pub const PASSED_FDS_MAX: usize = 253;

// --- Between cores --------------------------------------------------------------------------

/// Bytes of all queues of a mesh together, whatever the number of members.
///
/// 16 B per connection at a million of them; divided by the ordered pairs.
pub const MESH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Slots of one queue at most: what a shard that is late by a turn or two is sent meanwhile.
pub const MESH_SLOTS_MAX: usize = 4096;

/// Slots of one queue at least, or the mesh is not built: below, every burst is refused.
pub const MESH_SLOTS_MIN: usize = 16;

/// One slot of this many is kept for answers, so it is also how many requests to one member may
/// wait for theirs (1,024 of 4,096: more than a turn's events).
pub const MESH_ANSWER_SHARE: usize = 4;

/// One slot of this many is kept for notices: they repair state, so they outlast deliveries.
pub const MESH_NOTICE_SHARE: usize = 8;

/// Members of a mesh: two words of its bitmaps hold them, the control and broker threads too.
pub const MESH_MEMBERS_MAX: usize = 128;

/// Bytes of a message for which also the largest mesh can be built.
pub const MESH_MESSAGE_BYTES: usize = 56;

const _: () = assert!(
    MESH_MEMBERS_MAX * MESH_MEMBERS_MAX * MESH_SLOTS_MIN * (MESH_MESSAGE_BYTES + 8)
        <= MESH_BYTES_MAX
);
// What is kept leaves at least half of a queue to everyone.
const _: () = assert!(MESH_ANSWER_SHARE >= 4 && MESH_NOTICE_SHARE >= 4);
/// Log lines that wait for a slow terminal or pipe; more are dropped and counted, because a shard
/// never waits for a log. 4,096 lines of 200 bytes are under 1 MiB; of as long ones as a client can
/// bring about, 3 MiB.
pub const LOG_LINES_MAX: usize = 4096;

/// Bytes of a request's path in a line of the log: those of a router are shorter, and a client may
/// send one as long as a head.
pub const LOGGED_PATH_BYTES_MAX: usize = 256;

/// Descriptors in every table that are not connections: standard streams, listener, log, Unix
/// sockets of the control thread, and what a library opens for a moment.
pub const FDS_RESERVED_BASE: u64 = 64;

/// Descriptors in every table per shard of the process: its rings, bells and socket pairs are
/// made before the tables part, so each table has a copy of them all.
pub const FDS_RESERVED_PER_SHARD: u64 = 16;

/// Connections of one shard: what 100 GB of kernel memory hold is more than one core serves.
pub const SHARD_CONNECTIONS_MAX: u32 = 1 << 24;

/// `SO_REUSEPORT` spreads by hash: one shard in many gets a few percent more than the mean. Room
/// for 5 % keeps passing sockets on the exception.
pub const SHARD_HEADROOM_PERCENT: u64 = 5;

/// The executor of a shard refuses to start under this limit of locked memory, exempt or not.
pub const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

// --- shard: the turn ------------------------------------------------------------------------

/// Ready connections that are read in one turn.
pub const TURN_EVENTS_MAX: usize = 512;

/// Of those who are still coming in, how many are read in one turn: each costs a handshake or a
/// whole session's subscriptions, and a thousand who come back at once must not keep others waiting
/// for longer than a turn.
pub const NEW_EVENTS_MAX: usize = 16;

/// Of those who are still coming in, how many are read in a turn that others have filled: nobody is
/// kept out for ever.
pub const NEW_EVENTS_MIN: usize = 2;

/// Of those who are served, how many are read in a turn however late it is: what is late may be
/// this thread, which another has kept from its core, and nobody is served sooner for waiting then.
pub const KNOWN_EVENTS_MIN: usize = 64;

const _: () = assert!(KNOWN_EVENTS_MIN <= TURN_EVENTS_MAX);
const _: () = assert!(NEW_EVENTS_MIN <= NEW_EVENTS_MAX && NEW_EVENTS_MAX <= TURN_EVENTS_MAX);

/// Time after which a turn stops reading and flushes: what others wait for at most, beside the
/// shares of the mesh and of the fan-out.
pub const TURN_PERIOD_MAX: Duration = Duration::from_millis(1);

/// Output after which a turn stops reading and flushes.
pub const TURN_OUTPUT_BYTES_MAX: usize = 512 * 1024;

/// Bytes of the arena that a turn's output is encoded into: what one turn may make, and room for
/// what its last event and the joins at the flush add. Untouched pages cost nothing.
pub const ARENA_BYTES: usize = 4 * TURN_OUTPUT_BYTES_MAX;

/// Bytes of one connection's input that count as its share of a turn.
pub const TURN_SHARE_BYTES: usize = 64 * 1024;
const _: () = assert!(TURN_SHARE_BYTES >= RECEIVE_BUFFER_BYTES); // one read is one share

/// What a frame costs of the share beside its bytes: parsing an empty one takes about as long as
/// unmasking 32 bytes.
pub const FRAME_COST_BYTES: usize = 32;

/// Sends of fan-out in one turn.
pub const FANOUT_TURN_SHARE: usize = 512;

/// The same on a shard that shares its core with others: about 1 ms of it. The scheduler lets who
/// has taken more wait for longer, whatever for.
pub const FANOUT_SHARED_TURN_SHARE: usize = 128;

/// Members told in one turn that they missed something: each of them comes back for it at once.
pub const MISSED_SHARE: usize = 64;

/// Publications that a shard which lags is sent again of one channel, before the next channel has
/// its turn.
pub const REPAIR_SHARE: usize = 64;

/// Time for which joins and leaves wait for others of their channel, to be told together.
pub const JOINS_TICK: Duration = Duration::from_millis(250);

/// Channels told in one turn who came and went.
pub const JOINS_TOLD_SHARE: usize = 16;

/// Streams looked at in one turn for what has outlived its time.
pub const EXPIRY_SHARE: usize = 64;

/// Members told of their joins in one turn. While some are left nothing is read and nothing is
/// fanned out, so joins never come faster than they are told of.
pub const JOINS_SHARE: usize = 1024;

/// Connections of users that are told something in one turn: each is closed, or subscribed, which
/// takes some microseconds.
pub const TELLINGS_SHARE: usize = 128;

/// Places of channels looked at in one turn for who asks which there are: well under a
/// millisecond, also where each of them matches.
pub const LISTING_SHARE: u32 = 1024;

/// Messages of other shards taken in one turn.
pub const MESH_SHARE: usize = 256;

/// Time after which a turn takes no more of them: half of what it reads for, since whoever reads
/// and writes here waits for both.
pub const MESH_PERIOD_MAX: Duration = Duration::from_micros(500);

/// Sockets admitted in one turn; also sockets taken over from other shards.
pub const ACCEPT_SHARE: usize = 128;

/// Accepted sockets that wait for a turn, beyond which accepting pauses and the kernel's backlog
/// takes over.
pub const ACCEPT_QUEUE_MAX: usize = 1024;

/// Slots looked at in one turn of a stopping shard: as many closes as a turn reads.
pub const DRAIN_SHARE: u32 = 512;

/// Off-loaded jobs finished in one turn.
pub const JOBS_SHARE: usize = 64;

/// Nodes of the wheel looked at in one turn: a million heartbeats every 25 s are 40 per
/// millisecond.
pub const WHEEL_SHARE: u32 = 512;

/// The wait after a turn that sent something, and of a shard that stops: the next turn gives back
/// what this one sent from, and tries again what did not fit into the mesh.
pub const SETTLE_PERIOD: Duration = Duration::from_millis(2);

/// The wait of a shard with no deadline. Everything that it is for wakes it; a turn an hour in
/// which it finds nothing costs nothing.
pub const SLEEP_MAX: Duration = Duration::from_hours(1);

/// Connections that have left a shard before it asks its allocator to give their memory back while
/// others are there: what fewer leave behind, some hundred KB, is kept for those who come next.
pub const GIVE_BACK_MIN: u64 = 1024;

/// How long it waits then for the rest of them, and at least from one time to the next: asking
/// looks at every page of the heap. A minute is what giving back may take.
pub const GIVE_BACK_DELAY: Duration = Duration::from_secs(10);

/// From here on a wait counts as parking.
pub const PARK_PERIOD: Duration = SETTLE_PERIOD;

/// Rest after an accept that found no descriptor or memory: ten tries a second cost nothing.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Rest before polls that the kernel refused are armed again: what it has no memory for now, it
/// has none for in the next turn either.
pub const POLL_BACKOFF: Duration = Duration::from_millis(100);

/// Entries of a shard's submission queue; a turn with more is submitted in parts.
pub const SUBMISSION_ENTRIES: u32 = 1024;

/// Tries of one enter that the kernel refuses for want of memory or of room for completions, which
/// are taken in between. Thousands in a row are no shortage that passes.
pub const ENTER_ATTEMPTS_MAX: u32 = 4096;

/// Entries of a completion queue: the fewest, and the most that `io_uring` takes.
pub const COMPLETION_ENTRIES_MIN: u32 = 4096;
/// Fewer can be configured, to see what an overflow does, but no ring is made with less than these.
pub const COMPLETION_ENTRIES_TEST_MIN: u32 = 2;
/// See [`COMPLETION_ENTRIES_MIN`]. 65,536 entries are 1 MiB.
pub const COMPLETION_ENTRIES_MAX: u32 = 65_536;

// --- shard: connections ---------------------------------------------------------------------

/// Connections of all shards together that are held only to be told 503.
pub const SURPLUS_SLOTS: u32 = 64;

/// Pings of one read that are answered one by one; of those beyond only the last is (RFC 6455
/// §5.5.3), so that a flood of them does not multiply.
pub const PONGS_PER_READ_MAX: u32 = 16;

/// Pings in a row without a byte from the peer, after which it is gone.
pub const PINGS_MISSED_MAX: u8 = 3;

/// Messages that an application may use as heartbeats on one shard: three bits of a connection's
/// flags say which is its own.
pub const HEARTBEAT_MESSAGES_MAX: usize = 7;

/// Bytes of a backlog that one send takes.
pub const BACKLOG_SEND_BYTES: usize = 64 * 1024;

/// Bytes of one publication.
pub const PUBLICATION_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Parameters in one route's pattern.
pub const ROUTE_PARAMS_MAX: usize = 8;

/// Bytes of a message that hands a request over, before the request itself: an address.
pub const HANDOVER_HEAD_BYTES: usize = 19;

/// Bytes of a message that hands a request over: a head that came in parts, and one read more.
pub const HANDOVER_BYTES_MAX: usize = HANDOVER_HEAD_BYTES + HEAD_BYTES_MAX + RECEIVE_BUFFER_BYTES;

/// Bytes that wait at the control thread's door, as far as the kernel grants it: some 800 requests
/// without a body.
pub const DOOR_BYTES: usize = 1024 * 1024;

/// Questions of the site that wait for the control thread's main task.
pub const ASKS_MAX: usize = 1024;

/// Questions of the site answered before the control thread looks at something else.
pub const ASKS_SHARE: usize = 64;

/// Answers to questions of sessions that leave together, before the control thread looks at
/// something else: one look costs as much as several answers.
pub const ANSWERS_SHARE: usize = 64;

/// Rest before the next try, when the control thread has not taken earlier requests yet.
pub const HANDOVER_PAUSE: Duration = Duration::from_millis(2);

/// Requests taken from the shards before the control thread looks at something else.
pub const ARRIVALS_SHARE: usize = 64;

/// Commands of the program around a server that wait for its control thread.
pub const COMMANDS_MAX: usize = 64;

/// Questions of the program around a server that wait for a round of answers of the shards. Those
/// of the site are one for each of its connections.
pub const PROGRAM_ASKERS_MAX: usize = 4 * COMMANDS_MAX;
// --- Client protocol ------------------------------------------------------------------------

/// Replies and pushes that are packed into one message: what the reference packs, and every
/// client takes.
pub const MESSAGE_REPLIES_MAX: usize = 16;

/// Bytes of a publication of which a delta is made, and of the one before it. Longer ones are sent
/// whole: a delta of 64 KiB takes a fraction of a millisecond of its channel's home, and a turn is
/// not to take longer.
pub const DELTA_BYTES_MAX: usize = 64 * 1024;

/// How long the first wait for an acknowledgement of a publication is; each further one is twice as
/// long.
pub const ACK_BACKOFF_MIN: Duration = Duration::from_secs(1);

/// The longest such wait: a client that comes to itself hears within a minute.
pub const ACK_BACKOFF_MAX: Duration = Duration::from_mins(1);

/// Connections of one user that are sent again what it has not acknowledged in a channel: those
/// that came last. A person has few devices.
pub const ACK_LINKS_MAX: usize = 8;

/// Publications that one acknowledgement may name.
pub const ACK_IDS_MAX: usize = 1000;

/// Users × channels for which a home retains what is not acknowledged.
pub const MAILBOXES_PER_HOME_MAX: usize = 1 << 20;

/// Mailboxes of one user, at one home, that none of its connections is there for: several sessions
/// of 128 channels. Without it, who subscribes to ever new names fills a home by itself.
pub const ACK_AWAY_PER_USER_MAX: usize = 1024;
const _: () = assert!(ACK_AWAY_PER_USER_MAX * 1024 <= MAILBOXES_PER_HOME_MAX);

/// Publications of a channel that some of its mailboxes have yet to take. More come only where a
/// home is slower at that than they are published; a mailbox that is looked at takes all of them.
pub const ACK_BEHIND_MAX: usize = 256;

/// Mailboxes and publications with which mailboxes take what was published, in one turn of a home:
/// a fraction of a millisecond, also where a channel has a million users.
pub const ACK_TAKE_SHARE: usize = 1024;
const _: () = assert!(ACK_TAKE_SHARE >= 2 * ACK_BEHIND_MAX);

/// Channels that are looked at for one whose oldest publication can make room. Those that cannot
/// have some users who have yet to take it, which is a matter of turns.
pub const ACK_EVICTION_LOOKS_MAX: usize = 64;

/// Users × channels of which a home knows what was lost there when the mailbox is gone: some
/// megabytes of names.
pub const ACK_LOSSES_MAX: usize = 1 << 16;

/// Bytes that all of it is charged for, at one home: publications once, and a place of each for
/// every user that has yet to acknowledge it.
pub const ACK_BYTES_PER_HOME_MAX: usize = 64 * 1024 * 1024;

/// Mailboxes of a home that are looked at in one turn, and publications that a shard sends again.
pub const REDELIVERIES_SHARE: usize = 64;

/// Publications to be sent again that wait on a shard: those of a few turns of its homes.
pub const REDELIVERIES_WAITING_MAX: usize = 16 * REDELIVERIES_SHARE;

/// Bytes of a filter by tags in the words of a client, before it is read. A list of a hundred
/// names fits.
pub const FILTER_BYTES_MAX: usize = 4 * 1024;

/// Filters within a filter: deeper ones nobody writes, and they are walked by recursion.
pub const FILTER_DEPTH_MAX: usize = 16;

/// Bytes of all different filters of one shard, each charged for once.
pub const FILTERS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Filters that one run of publications was read by, for which it is kept what they leave of it;
/// and as many ways to read it, put together, for the next member who reads it so.
pub const SELECTIONS_KEPT_MAX: usize = 256;

/// Lists for replies whose words a shard keeps for the next who ask for the same: a storm of
/// reconnections comes back to its channels in any order. They are looked through within a
/// microsecond.
pub const ENCODINGS_KEPT_MAX: usize = 1024;

/// Bytes of all of them.
pub const ENCODINGS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of one such list; longer ones are made anew for each.
pub const ENCODING_BYTES_MAX: usize = 1024 * 1024;

/// Commands of one client that are under way at once: a client that subscribes to all channels
/// that it may be in by default is asked for none of them twice.
pub const COMMANDS_UNDER_WAY_MAX: usize = 128;
const _: () = assert!(COMMANDS_UNDER_WAY_MAX >= CONNECTION_CHANNELS_DEFAULT as usize);

/// Requests of one shard that wait for room in the mesh, at about 200 B each: entries, questions
/// and sign-ins of clients that come back all at once. Clients of more are told to try again.
pub const REQUESTS_WAITING_MAX: usize = 64 * 1024;

/// Bytes of replies of one client that wait for an earlier one. They are output that is not sent,
/// and count the same: who has more is told 3008.
pub const REPLIES_WAITING_BYTES_MAX: usize = OUTPUT_BYTES_DEFAULT;

/// Bytes of commands of one client that wait for the one under way, beyond one frame, which always
/// fits. A client that sends more before an answer is told 3013. All clients of a shard together
/// have its share of [`PARTIAL_BYTES_DEFAULT`] for them.
pub const DEFERRED_BYTES_MAX: usize = 2 * MESSAGE_BYTES_DEFAULT;

/// Time for the first command (Centrifugo's `client.stale_close_delay`).
pub const STALE_CLOSE_DELAY_DEFAULT: Duration = Duration::from_secs(10);

/// Bytes of a token: what names a hundred channels with their infos has some 20 KiB, and proxies
/// refuse headers of half of it. A longer one is refused before anything is done with it.
pub const TOKEN_BYTES_MAX: usize = 32 * 1024;
const _: () = assert!(TOKEN_BYTES_MAX < MESSAGE_BYTES_DEFAULT);

/// Bytes of the name that a token gives its key (`kid`): a thumbprint has 43, and ARNs some 100.
pub const TOKEN_KEY_ID_BYTES_MAX: usize = 256;

/// Bytes of the name that a token has itself (`jti`): a UUID has 36. It is kept with each session.
pub const TOKEN_ID_BYTES_MAX: usize = 128;

/// Tokens, and users' tokens, that may be revoked at a time: a day of logouts of a site with as
/// many users online. Each shard has the list, with 100 to 600 bytes for each: 2 to 9 MiB.
pub const REVOCATIONS_MAX: usize = 16 * 1024;

/// Bytes of one compiled `audience_regex` or `issuer_regex`.
pub const TOKEN_REGEX_BYTES_MAX: usize = CHANNEL_REGEX_BYTES_MAX;

/// Tokens that are known to be signed, of each purpose: 32 bytes and as much again for their table,
/// 8 MiB in all. A storm of as many clients is let in without checking a signature twice.
pub const TOKENS_KNOWN_MAX: usize = 1 << 17;

/// One thread checks signatures for so many cores: at 20 us for one of RSA it checks 50,000 a
/// second, and takes a quarter of the machine at most where there are cores enough.
pub const TOKEN_CORES_PER_THREAD: usize = 4;

/// How much less of a core they get than a shard that wants the same one (nice values): a tenth.
pub const TOKEN_THREAD_NICE: i32 = 10;

/// Tokens that wait for such a thread; the others wait for this room, in their order.
pub const TOKEN_CHECKS_WAITING_MAX: usize = 64;

/// So many tokens that are being checked are looked through for those whose clients have gone.
pub const TOKEN_FLIGHTS_LOOKED_THROUGH: usize = 1024;

/// Bytes of a key set: 64 keys with their certificates.
pub const KEY_SET_BYTES_MAX: usize = 256 * 1024;

/// Time for a key set to arrive. Whoever waits for it waits to be connected.
pub const KEY_SET_TIMEOUT: Duration = Duration::from_secs(5);
const _: () = assert!(KEY_SET_TIMEOUT.as_secs() < STALE_CLOSE_DELAY_DEFAULT.as_secs());

/// Time between two attempts to fetch a key set: a token may name any key, and each name that is
/// unknown may be that of a new one. Its client waits for so long and the fetch; those of the
/// official SDKs give up after 5 s.
pub const KEY_SET_FETCH_FLOOR: Duration = Duration::from_secs(2);

/// Clients that wait so at a time: a new key begins with few, and who makes names of keys up is not
/// to keep everybody's room at the control thread. One more is told to come again.
pub const KEY_SET_WAITERS_MAX: usize = 256;
const _: () = assert!(KEY_SET_WAITERS_MAX * 8 <= CONSULTS_PER_SHARD_MAX);

/// Age at which a key set is fetched anew behind those who use it, so that keys which were taken
/// out of it are taken out here.
pub const KEY_SET_REFRESH: Duration = Duration::from_mins(10);

/// Age at which a key set that could not be fetched anew is used no more.
pub const KEY_SET_AGE_MAX: Duration = Duration::from_hours(24);

/// Keys of one key set: providers publish two to ten, the present and those around it.
pub const KEY_SET_KEYS_MAX: usize = 64;

/// Bytes that a token may say of its connection: they are kept with it, and stand in each of its
/// publications.
pub const CONNECTION_INFO_BYTES_MAX: usize = 4096;

/// Time until a connection expires, at most, whatever its token says: a year, as in the reference.
pub const CONNECTION_LIFE_MAX: Duration = Duration::from_hours(365 * 24);

/// Time between the expiry of a connection and its end, for a new token to arrive (Centrifugo's
/// `client.expired_close_delay`).
pub const EXPIRED_CLOSE_DELAY_DEFAULT: Duration = Duration::from_secs(25);

/// Time for a client whose connect failed to leave by itself, knowing why.
pub const REFUSED_CLOSE_DELAY: Duration = Duration::from_secs(5);

// --- defaults -------------------------------------------------------------------------------

/// Time for a request head: browsers on bad mobile links take seconds, attackers as long as they
/// may (nginx gives 60 s; a handshake is one packet).
pub const HANDSHAKE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// Time without a byte from the peer.
pub const IDLE_DEFAULT: Duration = Duration::from_mins(10);

/// Time between pings: under the 30 s after which carriers' NATs begin to forget.
pub const PING_INTERVAL_DEFAULT: Duration = Duration::from_secs(25);

/// Time for the answer to the last ping.
pub const PONG_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// Time between two heartbeats by message (Centrifugo's `client.ping_interval`).
pub const MESSAGE_PING_INTERVAL_DEFAULT: Duration = Duration::from_secs(25);

/// Time for the answer to a heartbeat by message (Centrifugo's `client.pong_timeout`).
pub const MESSAGE_PONG_TIMEOUT_DEFAULT: Duration = Duration::from_secs(8);

/// Time in which a slow peer must take at least one byte of its backlog.
pub const WRITE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// Time for the close handshake.
pub const CLOSE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// Time for the peer's FIN once both Close frames and ours are out: a round trip and a
/// retransmission. A peer that keeps its socket open holds a slot for no longer.
pub const LINGER_PERIOD_MAX: Duration = Duration::from_secs(1);

/// Time for all closes when the server stops; supervisors kill after 30 s or more.
pub const DRAIN_DEFAULT: Duration = Duration::from_secs(10);

/// Unsent bytes of one connection (Centrifugo's `client.queue_max_size`).
pub const OUTPUT_BYTES_DEFAULT: usize = 1024 * 1024;

/// Publications that wait for one slow connection, of channels in which it may miss some: what it
/// is sent at once when it has caught up, without the output of a turn growing by it. Where there
/// are more, those go for which a later one of their channel stands.
pub const SET_ASIDE_FRAMES_MAX: usize = 64;

/// Bytes of them, as if nobody else were sent the same: one send of a backlog. The last ones of
/// channels may be more, up to the bound of the connection's output.
pub const SET_ASIDE_BYTES_MAX: usize = BACKLOG_SEND_BYTES;

/// One part in so many of the bound of all backlogs may be set aside besides them: shared with
/// others for the most part, and dropped where more would be. The last ones of channels, which are
/// not, may take what backlogs leave of theirs.
pub const SET_ASIDE_SHARE: usize = 4;

/// Unsent bytes of all connections: what 256 peers at their bound hold.
pub const BACKLOG_BYTES_DEFAULT: usize = 256 * OUTPUT_BYTES_DEFAULT;

/// Bytes of all heads and messages that have not arrived whole: 4,096 of the default size.
pub const PARTIAL_BYTES_DEFAULT: usize = 256 * 1024 * 1024;
const _: () = assert!(PARTIAL_BYTES_DEFAULT >= 1024 * MESSAGE_BYTES_DEFAULT);

/// Publications that one recovery brings at most (Centrifugo's
/// `client.recovery_max_publication_limit`); who missed more begins anew.
pub const RECOVERY_PUBLICATIONS_DEFAULT: u32 = 300;

/// Publications of one history reply (Centrifugo's `client.history_max_publication_limit`).
pub const HISTORY_PUBLICATIONS_DEFAULT: u32 = 300;

/// Publications that a channel keeps at most (`history_size`). All streams of a home share a budget
/// of bytes, which ends far earlier; this ends what a slip of the pen would ask for.
pub const HISTORY_SIZE_MAX: u32 = 1 << 20;
const _: () = assert!(HISTORY_SIZE_MAX >= HISTORY_PUBLICATIONS_DEFAULT);

/// Bytes of one compiled `channel_regex`. A class of Unicode letters takes some ten thousand.
pub const CHANNEL_REGEX_BYTES_MAX: usize = 1024 * 1024;

/// Channels of one connection (Centrifugo's `client.channel_limit`).
pub const CONNECTION_CHANNELS_DEFAULT: u16 = 128;

/// Connections that are served HTTP at the same time: back ends keep a few each, pages none.
pub const HTTP_CONNECTIONS_DEFAULT: u32 = 1000;

/// Threads of the off-load pool.
pub const OFFLOAD_THREADS_DEFAULT: usize = 4;

/// Jobs that wait for a thread.
pub const OFFLOAD_QUEUE_DEFAULT: usize = 1024;

/// Time in one call of the handler that others on the shard notice.
pub const STALL_DEFAULT: Duration = Duration::from_millis(10);
// --- configuration ---------------------------------------------------------------------------

/// Bytes of a configuration file: a thousand times the longest that anybody has written by hand.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;

/// Tables within tables of a configuration file; the deepest key of ours has three names.
pub const CONFIG_DEPTH_MAX: usize = 16;

/// User memory of one connected client before it subscribes, at most: its entry of the slab (88
/// bytes), its place in the slab's and the wheel's tables, and what its allocator rounds up.
pub const CONNECTION_USER_BYTES: u64 = 250;

/// Kernel memory of one end of a connection: socket, inode, file, dentry, an armed poll and its
/// place in the descriptor table. Measured on Linux 6.18: 995,159 connections with both ends on one
/// host took 9.02 KB of slabs each, a million 8.40 KB; a plan goes by the larger.
/// `tuning/host/knobs.sh` has the same number.
pub const CONNECTION_KERNEL_BYTES: u64 = 4_510;

/// Entries of a shard's slab that are looked at to know what all of them point to: about 100
/// microseconds, where half a million took 50 milliseconds.
pub const MEMORY_SAMPLE_MAX: u32 = 1024;

/// Bytes of one membership of [`MEMBERSHIPS_PER_SHARD_MAX`].
pub const MEMBERSHIP_BYTES: u64 = 24;

/// What a shard has before its first connection: its arena, its receive buffer, its wheel, its
/// rings with the executor's, and its stack as far as it is touched.
pub const SHARD_BYTES: u64 = 8 * 1024 * 1024;
const _: () = assert!(SHARD_BYTES >= (ARENA_BYTES + RECEIVE_BUFFER_BYTES) as u64);

/// Connections that one process may be asked for: as many as [`SHARDS_MAX`] hold and more than
/// the memory of any machine does; beyond it a number is a slip of the keyboard.
pub const CONNECTIONS_MAX: u32 = 100_000_000;

// --- The load generator ---------------------------------------------------------------------

/// Connections of one generator: payloads name their connection in 24 bits, and loopback has
/// addresses for more.
pub const BENCH_CONNECTIONS_MAX: u32 = 4_000_000;
const _: () = assert!(BENCH_CONNECTIONS_MAX < 1 << 24);
const _: () = assert!(BENCH_CONNECTIONS_MAX.div_ceil(BENCH_CONNECTIONS_PER_SOURCE) <= 250 * 256);

/// Connections from one source address to one target: fewer than half of the kernel's default range
/// of 28,232 ports, from where on each connect passes all ports in use before it finds a free one.
pub const BENCH_CONNECTIONS_PER_SOURCE: u32 = 12_500;

/// User memory of one session of the generator, all that it has included: a million share the host
/// with the server that they measure.
pub const BENCH_CLIENT_BYTES_MAX: u32 = 150;

/// Stack of a thread of the generator: a million connections may need hundreds of them.
pub const BENCH_STACK_BYTES: usize = 512 * 1024;

/// Memory that the host keeps available (`MemAvailable`); a run that comes below it ends.
pub const BENCH_MEMORY_BYTES_MIN: u64 = 1_000_000_000;

/// Bytes of the answer of a server's operator's port that are read.
pub const BENCH_ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Threads of a server that are looked at: those of any that has a few for each core.
pub const BENCH_TASKS_MAX: usize = 16_384;

/// Samples of one run for its report: a plot is 700 pixels wide.
pub const BENCH_SAMPLES_MAX: usize = 600;

/// Time between two of them at first; it doubles whenever there are too many.
pub const BENCH_SAMPLE_DISTANCE: Duration = Duration::from_millis(250);

/// How often that is looked at: at 100,000 connections a second, 85 MB are taken in between.
pub const BENCH_WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// Source addresses of a run that opens and closes: 64 × 12,500 ports last for longer than a
/// port on loopback has to rest (1 s, `net.ipv4.tcp_tw_reuse`).
pub const BENCH_SOURCES_OF_CHURN: u32 = 64;

/// Bytes that the names of a generator's channels may begin with: with its number a name stays far
/// below what servers take, 255 by default.
pub const BENCH_PREFIX_BYTES_MAX: usize = 64;

/// Largest payload: what a server takes by default.
pub const BENCH_PAYLOAD_BYTES_MAX: usize = MESSAGE_BYTES_DEFAULT;

/// Messages in flight per connection (closed loop), each with a remembered time of 8 bytes.
pub const BENCH_WINDOW_MAX: u32 = 1024;

/// Messages that a run with a rate leaves unanswered on one connection before it waits. Those
/// due meanwhile are sent late and keep their planned time.
pub const BENCH_UNANSWERED_MAX: u64 = 64;

/// Publishers of one run: every subscriber follows the sequence of each, in 16 bytes.
pub const BENCH_PUBLISHERS_MAX: u32 = 64;

/// Publications of one publisher whose send time is remembered in a closed loop. A copy that is
/// further behind is charged from a later publication: too little, never too much.
pub const BENCH_PUBLICATIONS_TIMED: usize = 4096;
const _: () = assert!(BENCH_PUBLICATIONS_TIMED >= 4 * BENCH_WINDOW_MAX as usize);

/// Publications of one run that each wait until all copies of the one before are there. Their
/// times are remembered one by one.
pub const BENCH_ROUNDS_MAX: u32 = 1000;
const _: () = assert!(BENCH_ROUNDS_MAX as usize <= BENCH_PUBLICATIONS_TIMED);

/// Frames that a thread of a plain send loop may be behind by. The next publication follows when
/// all copies of the last have come, or when none has for [`BENCH_DRAIN_DEADLINE`].
pub const BENCH_FLOOR_FRAMES_MAX: usize = 4;

/// How long one `send(2)` of that loop waits for a receiver that does not read.
pub const BENCH_FLOOR_STALL: Duration = Duration::from_secs(5);

/// Messages a second of each probe: enough for a p99 in seconds, too few to be a load.
pub const BENCH_PROBE_RATE: u64 = 10;

/// Readable sockets that the generator serves before it hands its sends to the kernel: so a
/// server sees arrivals spread out, and a time stamp stays near its send.
pub const BENCH_TURN_SOCKETS_MAX: usize = 128;

/// The generator's room for the sends of one turn; a fuller turn is split.
pub const BENCH_ARENA_BYTES: usize = 1024 * 1024;
const _: () = assert!(BENCH_ARENA_BYTES >= 2 * BENCH_PAYLOAD_BYTES_MAX);

/// Submissions of one enter of the generator; more are submitted in between.
pub const BENCH_RING_SUBMISSIONS: u32 = 1024;

/// Completions that the kernel keeps for a generator: one per socket between these bounds, the
/// upper being the kernel's own.
pub const BENCH_RING_COMPLETIONS_MIN: u32 = 4096;
/// See [`BENCH_RING_COMPLETIONS_MIN`].
pub const BENCH_RING_COMPLETIONS_MAX: u32 = 65_536;

/// How long the generator sleeps at most before it looks at its deadlines.
pub const BENCH_WAIT_MAX: Duration = Duration::from_millis(10);

/// Where the generator's threads are more than the cores, a thread that receives a publication to
/// all waits for so many sockets, or so long: else each would run for every few of them.
pub const BENCH_GATHER_COUNT: usize = 64;

/// See [`BENCH_GATHER_COUNT`]: a thousandth of what such a publication takes.
pub const BENCH_GATHER_PERIOD: Duration = Duration::from_millis(2);

/// Connections being opened at the same time, by all threads: below the smallest usual backlog
/// (`somaxconn` 4096), and enough to keep a server's core busy.
pub const BENCH_OPENING_MAX: u32 = 512;

/// The same where they are begun by a schedule: late ones are charged from when they were due.
pub const BENCH_OPENING_RATED_MAX: u32 = 4096;

/// How long a storm of clients that come back is watched at most.
pub const BENCH_STORM_DEADLINE: Duration = Duration::from_mins(3);

/// Those of one thread, however many threads there are.
pub const BENCH_OPENING_MIN: u32 = 8;

/// How long one opening handshake may take.
pub const BENCH_HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How long a run waits at its end for what is still under way; the rest is lost.
pub const BENCH_DRAIN_DEADLINE: Duration = Duration::from_secs(3);

/// How long messages flow at most before anything is measured: caches, branch predictors and
/// socket buffers have settled.
pub const BENCH_WARM_UP_MAX: Duration = Duration::from_secs(1);

/// How long standing connections rest before memory is read: the allocator and the kernel give
/// back what connecting took.
pub const BENCH_SETTLE: Duration = Duration::from_millis(500);

/// Descriptors beside the sockets: ring, standard streams, /proc files, a wake-up.
pub const BENCH_DESCRIPTORS_SPARE: u64 = 16;

// --- The control thread ---------------------------------------------------------------------

/// Time for an answer of the shards to the control thread. They answer within a turn or two; one
/// that is stalled for longer is what the caller should hear of.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// Publications and questions of back ends that are on their way to channels' homes at once: what
/// some tens of connections ask in batches. One more is refused.
pub const HOME_REQUESTS_MAX: usize = 8192;

/// `info` tells what was counted in the last one or two of these: the reference's interval.
pub const INFO_PERIOD: Duration = Duration::from_mins(1);

/// Time in which a publication with the same key as an earlier one is not made again: the
/// reference's.
pub const IDEMPOTENCY_PERIOD: Duration = Duration::from_mins(5);

/// Bytes of the keys that are known in that time, and of what was answered: some 60,000. Beyond
/// them the oldest is forgotten.
pub const IDEMPOTENCY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes that a key is charged for beside its own and the channel's.
pub const IDEMPOTENCY_ENTRY_BYTES: usize = 192;

/// Commands in one batch.
pub const BATCH_COMMANDS_MAX: usize = 10_000;

/// Bytes of the name of an epoch that a publisher counts its versions in.
pub const VERSION_EPOCH_BYTES_MAX: usize = 64;

/// Channels that one list names: some megabytes. Who asks for more is told to ask for fewer.
pub const CHANNELS_LISTED_MAX: usize = 65_536;

/// Lists of channels that are made at once; one more is refused.
pub const LISTINGS_MAX: usize = 4;

/// Bytes of a pattern of channels' names.
pub const PATTERN_BYTES_MAX: usize = 1024;

/// Commands for users' connections that are under way at once: each waits until every shard has
/// told all that it has of the user's. One more is refused.
pub const USER_COMMANDS_MAX: usize = 1024;

/// Bytes of one of them: it says one thing to one user, and each shard reads it anew for every 128
/// of the user's connections. All of them together are 64 MiB.
pub const USER_COMMAND_BYTES_MAX: usize = 64 * 1024;

/// Commands for users that a shard keeps for clients of whom it is not known yet whose they are: of
/// some seconds in which back ends say hundreds.
pub const RECENT_WORDS_MAX: usize = 4096;

/// What these are charged for together. Most take a tenth of a KiB.
pub const RECENT_WORDS_BYTES_MAX: usize = 1024 * 1024;
const _: () = assert!(USER_COMMAND_BYTES_MAX * 8 <= RECENT_WORDS_BYTES_MAX);

/// Time for one request head after its first byte, as on a shard.
pub const HTTP_HEAD_TIMEOUT: Duration = HANDSHAKE_TIMEOUT_DEFAULT;

/// Time for what is still being answered when the server has stopped otherwise: an answer of the
/// shards, and the close behind it.
pub const HTTP_STOP_TIMEOUT: Duration = Duration::from_secs(4);
const _: () = assert!(
    HTTP_STOP_TIMEOUT.as_millis() > ASK_TIMEOUT.as_millis() + LINGER_PERIOD_MAX.as_millis()
);

/// Time for which a request of the API waits while another process takes over: longer than the
/// hand-over may take, unless it is configured to take longer.
pub const HTTP_HELD_TIMEOUT: Duration = Duration::from_secs(30);

/// Time for the answer of the process that has taken over to one command: it asks its shards with
/// [`ASK_TIMEOUT`].
pub const HTTP_SENT_ON_TIMEOUT: Duration = Duration::from_secs(10);
const _: () = assert!(HTTP_SENT_ON_TIMEOUT.as_millis() > ASK_TIMEOUT.as_millis());

/// The same for many commands in one request, which are asked one after the other: a dozen of them
/// may be as late as one may be.
pub const HTTP_SENT_ON_BATCH_TIMEOUT: Duration = Duration::from_secs(30);
const _: () = assert!(HTTP_SENT_ON_BATCH_TIMEOUT.as_millis() > HTTP_SENT_ON_TIMEOUT.as_millis());

/// Time for what is still being answered when another process has taken over: a body that has
/// just begun to come, and its way there and back. Nobody waits for this process any more.
pub const HTTP_LEAVE_TIMEOUT: Duration = Duration::from_secs(62);
const _: () = assert!(
    HTTP_LEAVE_TIMEOUT.as_millis()
        > HTTP_BODY_TIMEOUT.as_millis()
            + HTTP_SENT_ON_BATCH_TIMEOUT.as_millis()
            + LINGER_PERIOD_MAX.as_millis()
);

/// What a stop may take beyond the drain timeout: the last closes of the shards, then the site.
pub const STOP_GRACE: Duration = Duration::from_secs(6);
const _: () =
    assert!(STOP_GRACE.as_millis() > HTTP_STOP_TIMEOUT.as_millis() + LINGER_PERIOD_MAX.as_millis());

/// Time without a request on a connection that is kept: longer than the minute for which
/// balancers and clients keep theirs, so that they close first.
pub const HTTP_IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// One HTTP seat in so many is for connections that end with their answer: once the others are
/// taken, nobody is kept for another request.
pub const HTTP_PRESSED_SHARE: usize = 4;

/// One seat in so many is kept free of HTTP connections that idle: as many newcomers may come
/// while those who were told to leave are on their way out.
pub const HTTP_NEWCOMERS_SHARE: usize = 16;

/// One HTTP connection in so many leaves at a time, so that a crowd is looked through once for
/// many newcomers and not once for each.
pub const HTTP_FREED_SHARE: usize = 64;
const _: () = assert!(HTTP_PRESSED_SHARE < HTTP_NEWCOMERS_SHARE);
const _: () = assert!(HTTP_NEWCOMERS_SHARE < HTTP_FREED_SHARE);

/// Time in which a client takes at least one byte of its answer.
pub const HTTP_WRITE_TIMEOUT: Duration = WRITE_TIMEOUT_DEFAULT;

/// Time for a whole body: 4 MiB at 1.1 Mbit/s.
pub const HTTP_BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of one body: a broadcast to 20,000 channels of long names.
pub const HTTP_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of all bodies that are held at a time: 16 of the longest, or 64 KiB on each of 1,024
/// connections. Each pays for what has arrived, so those who send nothing hold nothing.
pub const HTTP_BODIES_BYTES_MAX: usize = 16 * HTTP_BODY_BYTES_MAX;

/// Bytes that are read from an HTTP connection at a time.
pub const HTTP_READ_BYTES: usize = 16 * 1024;

/// Bytes of answers that wait for a client to take them, beside the one that is written last.
pub const HTTP_WRITE_BYTES_MAX: usize = 64 * 1024;
const _: () = assert!(HTTP_WRITE_BYTES_MAX >= HTTP_READ_BYTES);

/// Streams to clients over HTTP at the same time: one in a few hundred clients is behind a proxy
/// that lets no WebSocket through. Each takes two descriptors of the control thread.
pub const STREAMS_DEFAULT: u32 = 5_000;

/// Descriptors of the control thread that no request and no stream takes: pairs and bells of the
/// shards, listeners, operators, and connections to back ends.
pub const CONTROL_DESCRIPTORS_RESERVED: usize = 640;
const _: () = assert!(CONTROL_DESCRIPTORS_RESERVED > 2 * INTERNAL_CONNECTIONS_MAX);

/// Bytes of the request that begins a stream: a connect command with its token, and what the
/// client subscribes to at once.
pub const EMULATION_BODY_BYTES_DEFAULT: usize = 64 * 1024;
const _: () = assert!(EMULATION_BODY_BYTES_DEFAULT <= HTTP_BODY_BYTES_MAX);

/// What stands around the frame in a request beside a stream: two names and their keys.
pub const EMULATION_ENVELOPE_BYTES_MAX: usize = 1024;

/// Frames of one client that wait for its shard: more than a client has under way that waits for
/// the answers to what it has said.
pub const STREAM_FRAMES_MAX: usize = 4;

/// Time in which a shard opens a session, or takes a frame of one.
pub const STREAM_PATIENCE: Duration = ASK_TIMEOUT;

/// Connections for clients over HTTP that wait for a shard to take them. Those who find no room
/// wait in front of it.
pub const INTRODUCTIONS_MAX: usize = 64;

/// Bytes that are read and thrown away behind a last answer, so that it is not lost by a reset.
pub const HTTP_LINGER_BYTES_MAX: u64 = 256 * 1024;

const _: () = assert!(HEAD_BYTES_MAX <= HTTP_READ_BYTES);
const _: () = assert!(HTTP_BODY_BYTES_MAX <= PUBLICATION_BYTES_MAX);

/// Connections to the internal port: a scraper or two, and people.
pub const INTERNAL_CONNECTIONS_MAX: usize = 64;

/// Bytes of an `X-Request-ID` that is taken over: a UUID has 36, trace headers have 55.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// Channels of one broadcast.
pub const BROADCAST_CHANNELS_MAX: usize = 20_000;

/// Bytes of all messages that one broadcast becomes: what the mesh and the homes can take at once.
pub const BROADCAST_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of a broadcast's messages that are made before the first of them has left.
pub const BROADCAST_SLICE_BYTES: usize = 1024 * 1024;

/// Questions to the control thread that the clients of one shard may have open at a time: at
/// 100 ms each, 40,000 a second. One more is answered with a temporary error, or waits in line.
pub const CONSULTS_PER_SHARD_MAX: usize = 4096;

/// How many of them may be of those that can wait: half, so that a storm of tokens, or keys that
/// are waited for, leave room for what clients ask of back ends meanwhile.
pub const CONSULTS_PATIENT_MAX: usize = CONSULTS_PER_SHARD_MAX / 2;

/// Questions that wait in line for room: tokens, which are checked at 20,000 a second and more. A
/// shard's clients that all come back at once come in so in a second or two; to be sent away, and
/// to connect anew, would cost them and the shard more. They are bounded by their bytes, too.
pub const CONSULTS_WAITING_MAX: usize = 32 * 1024;

/// Bytes of these questions, of those that can wait and of the others each: room for many of usual
/// size, not for each of the longest.
pub const CONSULTS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Time for an answer of a back end, by default, as the reference has it.
pub const BACKEND_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);

/// The longest such time: a client has given up long before.
pub const BACKEND_TIMEOUT_MAX_MS: u64 = 60_000;

/// Bytes of an answer of a back end. What it says to one client must fit the client's unsent
/// output, and is seldom a hundredth of this.
pub const BACKEND_ANSWER_BYTES_MAX: usize = 256 * 1024;

/// Calls of one endpoint that are under way at a time, each on a connection of its own: one that
/// hangs keeps nobody from the others.
pub const BACKEND_CALLS_MAX: usize = 128;

/// Calls of all endpoints together: three of them may hang, and by then their breakers open. With
/// the longest answers they hold 96 MiB.
pub const BACKEND_CALLS_ALL_MAX: usize = 384;

const _: () = assert!(BACKEND_CALLS_MAX * 2 < BACKEND_CALLS_ALL_MAX);
const _: () =
    assert!(BACKEND_CALLS_ALL_MAX + 2 * INTERNAL_CONNECTIONS_MAX < CONTROL_DESCRIPTORS_RESERVED);

/// The part of its time that a call waits at most until fewer of its endpoint are under way: the
/// rest is for the answer, or for the next endpoint.
pub const BACKEND_ROOM_SHARE: u32 = 2;

/// Time for which a connection to a back end that nobody uses is kept: less than servers keep
/// theirs, so that no call is sent into a connection that is being closed.
pub const BACKEND_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

const _: () = assert!(CONSULTS_BYTES_MAX / CONSULTS_PER_SHARD_MAX >= 4096);

/// Reports of a shard's application that wait for the control thread: all clients of a shard of
/// 15,000 leave at once, each out of some channels before.
pub const REPORTS_PER_SHARD_MAX: usize = 65_536;

/// What they are charged for together: 256 bytes each.
pub const REPORTS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How many of them may be such as any client makes as many of as it likes.
pub const REPORTS_LESSER_MAX: usize = REPORTS_PER_SHARD_MAX / 2;

/// What these are charged for together.
pub const REPORTS_LESSER_BYTES_MAX: usize = REPORTS_BYTES_MAX / 2;

/// What a report is charged for beside its bytes.
pub const REPORT_OVERHEAD_BYTES: usize = 32;

/// Reports in one message of the mesh: with 16 KiB and fewer of them a storm takes few slots.
pub const REPORTS_PER_MESSAGE_MAX: usize = 64;

/// Events that wait for the back end that is told of them: a storm of a million's tenth, or all
/// that happens while a back end is started anew.
pub const EVENTS_WAITING_MAX: usize = 100_000;

/// What they are charged for together.
pub const EVENTS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How many of them may tell of channels only: one client that comes and goes makes any number of
/// these, and must not be why nobody is told that others are gone.
pub const EVENTS_OF_CHANNELS_MAX: usize = EVENTS_WAITING_MAX / 2;

/// What these are charged for together.
pub const EVENTS_OF_CHANNELS_BYTES_MAX: usize = EVENTS_BYTES_MAX / 2;

const _: () = assert!(REPORTS_BYTES_MAX <= EVENTS_BYTES_MAX);

/// Events of one POST, and their bytes: what a back end answers well within its timeout.
pub const EVENTS_BATCH_MAX: usize = 500;

/// See [`EVENTS_BATCH_MAX`].
pub const EVENTS_BATCH_BYTES_MAX: usize = 128 * 1024;

/// Time for the answer to one POST of events, by default: more than to a question, for there are
/// many in it and no client waits.
pub const EVENTS_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// Rest before events are posted again that were not taken; each time twice as long.
pub const EVENTS_RETRY_MIN: Duration = Duration::from_millis(200);

/// The longest such rest.
pub const EVENTS_RETRY_MAX: Duration = Duration::from_secs(30);

/// The longest while the server stops.
pub const EVENTS_RETRY_LAST_MAX: Duration = Duration::from_secs(1);

/// Events that nobody has taken for so long are given up: what they tell is no news, and what no
/// back end takes, for whatever reason, must not stand in the way of all others for ever.
pub const EVENTS_AGE_MAX: Duration = Duration::from_hours(1);

/// What a stop gives the last events beyond the drain timeout.
pub const EVENTS_STOP_GRACE: Duration = Duration::from_secs(3);

const _: () = assert!(EVENTS_STOP_GRACE.as_millis() < STOP_GRACE.as_millis());

/// Failures behind each other that open the breaker of an endpoint.
pub const BREAKER_FAILURES_MAX: u32 = 5;

/// Calls of which more than half must fail for that, without as many behind each other: fewer say
/// nothing.
pub const BREAKER_CALLS_MIN: u32 = 10;

/// For so long an endpoint is not called whose breaker is open; then one call tries it.
pub const BREAKER_OPEN_PERIOD: Duration = Duration::from_secs(3);

/// The time in which calls are counted is this long, this many times: 5 s.
pub const BREAKER_WINDOW_PART: Duration = Duration::from_millis(500);

/// See [`BREAKER_WINDOW_PART`].
pub const BREAKER_WINDOW_PARTS: usize = 10;

/// Endpoints whose breakers are remembered: more than anybody configures. Those that a reload has
/// taken away are forgotten when there are more.
pub const BREAKERS_MAX: usize = 256;

/// Time for which a connection goes on that has expired, while a back end is asked about it and
/// does not answer: no shorter than an answer may take.
pub const REFRESH_RETRY_PERIOD: Duration = Duration::from_mins(1);

const _: () = assert!(BACKEND_TIMEOUT_MAX_MS <= REFRESH_RETRY_PERIOD.as_secs() * 1000);

// --- Hand-over to another process -------------------------------------------------------------

/// Bytes of one record: what a connection may have unsent, what of its messages has arrived, and
/// room for both to be configured larger than their defaults.
pub const HANDED_RECORD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Bytes in one message of a hand-over: below what a Unix socket takes by default (208 KiB) by so
/// much that several are on their way.
pub const HANDED_MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Descriptors in one message of a hand-over. More save no time, and a bound of descriptors on
/// their way is met later.
pub const HANDED_FDS_MAX: usize = 64;

const _: () = assert!(HANDED_FDS_MAX <= PASSED_FDS_MAX);

/// Rest before the next try, when the other process is behind.
pub const HANDED_PAUSE: Duration = Duration::from_millis(1);

/// Time that those have who wait for a back end, or for a token to be checked, when their shard has
/// come to stand still: most answers are there by then, and nobody else waits long for them.
pub const HANDED_PATIENCE: Duration = Duration::from_millis(200);

/// Time that requests of the API have which are being carried out when a hand-over begins to stand
/// still: as long as most of them take, and no longer than clients may be left without a word.
pub const HANDED_REQUESTS_PATIENCE: Duration = Duration::from_secs(1);

/// Slots that a shard looks at in one turn, while it serves, for connections whose descriptors are
/// copied ahead. No more than a message takes are copied: some tens of microseconds.
pub const COPY_LOOKS_SHARE: u32 = 512;

/// Messages with copies that a shard sends in one turn, while it serves: each costs the kernel a
/// reference for each of its descriptors.
pub const COPY_MESSAGES_SHARE: usize = 2;

/// Messages of a hand-over that a shard sends in one turn.
pub const HANDED_MESSAGES_SHARE: usize = 64;

/// Bytes of what the control threads of two processes say to each other: a refusal's reason or an
/// offer of all addresses.
pub const HANDED_WORD_BYTES_MAX: usize = 4096;

// Every listener on a Unix socket, and that of the internal port, come with the offer.
const _: () = assert!(LISTENERS_MAX < PASSED_FDS_MAX);

/// Bytes of one part of what a control thread leaves to the next: a word, without its frame.
pub const BEQUEST_PART_BYTES_MAX: usize = HANDED_WORD_BYTES_MAX - 64;

/// Bytes of all that a control thread leaves to the next: keys of publications, whose places are
/// charged for more than the frames of their records, and some kilobytes of names and counts.
pub const BEQUEST_BYTES_MAX: usize = IDEMPOTENCY_BYTES_MAX + 1024 * 1024;

/// Time for the new process to build its shards and check itself, and for copies of descriptors to
/// be sent ahead, unless another is configured.
pub const READY_TIMEOUT: Duration = Duration::from_mins(1);

/// Time for everything to be handed over while nothing is served, unless another is configured:
/// longer than a million connections may take. Clients of the official SDKs leave when nothing has
/// come for a ping interval and 10 s, so one that is given up this late can cost some of them.
pub const FREEZE_TIMEOUT: Duration = Duration::from_secs(20);

/// A supervisor waits for both (systemd: 90 s), and is to hear which of them has passed.
const _: () = assert!(READY_TIMEOUT.as_secs() + FREEZE_TIMEOUT.as_secs() < 90);
const _: () = assert!(HANDED_REQUESTS_PATIENCE.as_millis() < FREEZE_TIMEOUT.as_millis());
const _: () = assert!(FREEZE_TIMEOUT.as_millis() < HTTP_HELD_TIMEOUT.as_millis());

/// By how much deadlines are put off when nothing was served; by an upgrade, besides for as long
/// as the older process needs until it has sent them. Clients of the official SDKs leave when a
/// ping comes 10 s late; what is over this has passed for pings, and they leave at once.
pub const STILL_MAX: Duration = Duration::from_secs(5);

/// For how long it counts that more than that has passed: longer than anybody waits for an answer
/// or a word, and far below what ticks tell apart (8 years).
pub const WENT_ON_TERM: Duration = Duration::from_hours(24);

/// Those who wait to hear how an upgrade goes.
pub const UPGRADE_LISTENERS_MAX: usize = 4;

/// Slots looked at in one turn for connections that were taken over, and are to be watched: a poll
/// of one costs about a microsecond.
pub const WATCH_SHARE: u32 = 512;

// --- Moves between shards ---------------------------------------------------------------------

/// Connections that a shard has more than the emptiest one before some of it move there. Among few
/// the kernel's hash is so uneven at times, by three times the root of some hundreds; and so many
/// idle ones more are hardly a thousandth of a core and a quarter of a megabyte of one table.
pub const BALANCE_DIFFERENCE_DEFAULT: u32 = 64;

/// What the difference is at least, as a share of what the fuller shard has: an eighth. The
/// kernel's spreading by hash stays far below that.
pub const BALANCE_SHARE: u32 = 8;

/// Time between two looks whether shards are level. A shard with many connections wakes for it.
pub const BALANCE_PERIOD: Duration = Duration::from_millis(250);

/// How busy a core is with shards, in thousandths over about a second, before some of their
/// connections go to a calmer one: below that it has time to spare, and answers wait for nobody.
pub const HOT_HEAT: u32 = 700;

/// A shard that has not said for so long how busy it is sleeps.
pub const HEAT_TERM: Duration = Duration::from_secs(2);

/// By how much it is busier than the other one before it begins, and half of that before it ends:
/// what neighbours on the host take, or a burst, is less.
pub const HOT_APART: u32 = 300;

/// Where no core is as busy as that, only the numbers of connections count.
pub const HOT_CALM: u32 = 500;

/// Looks behind each other that must find it so: two seconds, which no burst lasts.
pub const HOT_LOOKS: u32 = 8;

/// Where cores are busy, time from one gift to the next: what was given shows in the heat by then.
pub const HOT_SETTLE: Duration = Duration::from_secs(2);

/// A shard that has given half of what it had, and is as hot as before, gives nothing for so long:
/// what makes it hot does not move.
pub const HOT_REST: Duration = Duration::from_mins(5);

/// What a shard gives at once for its number where cores are busy, as a share of what it has.
pub const HOT_SHARE: u32 = 32;

const _: () = assert!(HOT_CALM <= HOT_HEAT && HOT_HEAT <= 1000 && HOT_APART <= HOT_HEAT);

/// Connections that a shard gives away between two looks, so 1,000 in a second: a move costs two
/// shards some 20 us each, which is 2 % of their time.
pub const MOVES_PER_PERIOD_MAX: u32 = 250;

/// Connections of a shard that are about to move: each keeps a copy of its descriptor with the
/// other shard, and a place in the socket between the two.
pub const MOVES_UNDER_WAY_MAX: usize = 64;

/// Slots that a shard looks at in one turn for connections that can move.
pub const MOVE_LOOKS_SHARE: u32 = 128;

/// Slots that it looks at between two looks whether shards are level: where hardly anybody can
/// move, nobody is to pay for that in every turn.
pub const MOVE_LOOKS_PER_PERIOD_MAX: u32 = 8192;

/// Words to users of which a shard knows the last ones, for connections that come from a shard
/// which has heard less: far more than are said while one moves, and as many as may be under way.
pub const MOVE_WORDS_MAX: usize = 256;

/// Connections for which a shard knows when the application last spoke for them, though they had
/// not: as many as are answered in the while that others take to hear it. Beyond them it may have
/// spoken for anybody, and nobody moves for that while.
pub const MOVE_SPOKEN_FOR_MAX: usize = 1024;

/// Channels that a connection which moves may be in: more take longer than they are quiet.
pub const MOVED_CHANNELS_MAX: usize = 32;

/// Bytes of the offer of a connection that may move, with the names of its channels: what a shard
/// has on its stack for it. Who is in channels with longer names stays.
pub const MOVE_OFFER_BYTES_MAX: usize = 4096;

/// What is kept for a connection of one channel until it has come: some tens of microseconds.
pub const PINNED_FRAMES_MAX: usize = 64;
