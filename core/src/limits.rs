//! Every bound in the system, with its reason. Bounds of one shell alone stand beside that shell.

use crate::time::Span;

/// A name must fit a Kubernetes label value and a file name with room for a suffix.
pub const NAME_BYTES_MAX: usize = 128;
/// Items of one enqueue or one planner step: one log entry must stay far below the frame limit.
pub const BATCH_ITEMS_MAX: usize = 1_000;
/// Items of one claim: a worker that asks for more than it can run soon starves the others.
pub const CLAIM_ITEMS_MAX: usize = 256;
/// Claims renewed by one heartbeat: everything that one node can hold.
pub const HEARTBEAT_CLAIMS_MAX: usize = 4_096;
/// An idempotency key; the longest key of a run's item fits.
pub const KEY_BYTES_MAX: usize = 256;
/// A payload travels through the log of every voter; larger inputs belong in files.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// A result is kept until its run has ended; larger outputs belong in files.
pub const RESULT_BYTES_MAX: usize = 64 * 1024;
/// An error text is for people; longer ones are cut.
pub const ERROR_BYTES_MAX: usize = 2 * 1024;
/// Unfinished items: 1 KiB each is 1 GiB, the memory promised for a leader.
pub const ITEMS_UNFINISHED_MAX: usize = 1_000_000;
/// What an item costs beside its texts, its places in the index included, as measured.
pub const RECORD_BYTES: u64 = 704;
/// Bytes of unfinished items and of arrays: the same gibibyte, when items are larger.
pub const UNFINISHED_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Bytes of completed and cancelled items that are kept, results included, and as many of dead ones; the
/// oldest go first.
pub const FINISHED_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Items beyond these that completions may bring which fan out. What ends makes room for one that
/// follows from it, however full the queue is.
pub const FOLLOW_UPS_SPARE: usize = 100_000;
/// Bytes beyond those of unfinished items that such completions may bring.
pub const FOLLOW_UP_BYTES_SPARE: u64 = 128 * 1024 * 1024;
/// Completed and cancelled items kept for `/work/history`; the oldest go first.
pub const ITEMS_FINISHED_MAX: usize = 20_000;
/// Dead items kept for redrive; the oldest go first.
pub const ITEMS_DEAD_MAX: usize = 20_000;
/// Idempotency keys of finished items that are remembered; the oldest go first.
pub const KEYS_MAX: usize = 1_000_000;
/// Kinds of unfinished items, told apart by work type and needs: a claim looks at each of them.
pub const CLASSES_MAX: usize = 4_096;
/// Work types whose waits are told apart, and one more for all others: each is a metric of its own.
pub const WAIT_TYPES_MAX: usize = 256;
/// Leases, delays and locks that one command settles before it is carried out: a burst of expiries
/// must not stall the log. The rest follows with the next command.
pub const DUE_PER_COMMAND_MAX: usize = 1_000;
/// Items that one item may wait for.
pub const DEPENDENCIES_MAX: usize = 64;
/// Items that may wait for one item: they are told of its end one after another.
pub const DEPENDENTS_MAX: usize = 10_000;
/// Queues: tenants of one cluster.
pub const QUEUES_MAX: usize = 1_024;
/// The largest weight of a queue.
pub const QUEUE_WEIGHT_MAX: u32 = 1_000;
/// Nodes that say what they have.
pub const NODES_MAX: usize = 10_000;
/// GPU devices of one node: a claim looks at each of them.
pub const NODE_GPUS_MAX: u16 = 64;
/// Items of one array.
pub const ARRAY_ITEMS_MAX: u32 = 10_000_000;
/// Arrays with unclaimed or remembered items.
pub const ARRAYS_MAX: usize = 10_000;
/// Held and retried items of one array: its cancellation ends them all in one command.
pub const ARRAY_OUTSTANDING_MAX: u32 = 20_000;
/// Parts into which the unclaimed items of one array may fall when single ones are cancelled: a claim
/// looks at each of them while the array has enough on its way.
pub const ARRAY_PARTS_MAX: usize = 1_000;
/// Open sessions: one for each worker of ten thousand nodes, and as many for other clients.
pub const SESSIONS_MAX: usize = 20_000;
/// Answers that one session keeps: requests that a client may have on their way at once.
pub const SESSION_ANSWERS_MAX: usize = 1_024;
/// Answers that all sessions keep together; beyond it further requests must wait.
pub const ANSWERS_MAX: usize = 1_000_000;
/// Numbers of items in the answers that all sessions keep together: one answer may have a thousand.
pub const ANSWER_IDS_MAX: usize = 4_000_000;
/// Locks held at once: they are for coordination, not for data.
pub const LOCKS_MAX: usize = 10_000;
/// Owners that wait for one lock: the end of a hold looks at each of them.
pub const LOCK_WAITERS_MAX: usize = 256;
/// Owners that wait for locks, all locks together: as many as there may be locks.
pub const LOCK_WAITERS_IN_ALL_MAX: usize = 10_000;
/// Events kept for those who react to them; the oldest go first. They are rare: a consumer may be away
/// for days.
pub const EVENTS_MAX: usize = 20_000;
/// Events that one cluster records at most, before one that begins from its backup: a million a second
/// for twelve days. Numbers stay exact in JSON for thousands of such clusters.
pub const EVENTS_OF_EPOCH: u64 = 1 << 40;
/// Runs kept, active and ended together; the oldest ended ones go first.
pub const RUNS_MAX: usize = 10_000;
/// Pairs or tasks of one run, all match-ups together.
pub const RUN_ITEMS_MAX: u32 = 1_000_000;
/// Outstanding items of one run: its end cancels them all in one command.
pub const RUN_OUTSTANDING_MAX: u32 = 20_000;
/// Contestants of one run: a round robin of 64 has 2,016 match-ups.
pub const CONTESTANTS_MAX: usize = 64;
/// Failures that a run keeps with their texts; further ones are only counted.
pub const RUN_FAILURES_KEPT: usize = 16;
/// Times that a pair is played again after its games failed, before the run fails.
pub const PAIR_REPLAYS_MAX: u16 = 3;
/// Attempts of one pair before it is played again under a fresh item: nodes may vanish under it.
pub const PAIR_ATTEMPTS_MAX: u32 = 3;
/// Time of one pair, whatever its limits say: engines start, and machines are slow at times.
pub const PAIR_TIMEOUT_MIN: Span = Span::seconds(60);
/// Time of one pair at most: beyond it the pair is stuck, whatever its limits say.
pub const PAIR_TIMEOUT_MAX: Span = Span::seconds(6 * 3_600);
/// Random plies of an opening: longer ones leave no game to play.
pub const OPENING_PLIES_MAX: u16 = 64;
/// Plies of a game: no chess game between engines needs more.
pub const PLIES_MAX: u16 = 2_000;
/// Elo distance that a test may ask for, in thousandths: beyond it the expected score is 0.997.
pub const ELO_MILLI_MAX: i32 = 1_000_000;
/// Capabilities and labels of one item or claimer.
pub const NEEDS_MAX: usize = 32;
/// The most urgent priority; 0 is the least.
pub const PRIORITY_MAX: u8 = 100;
/// Arguments and environment entries of one task, each.
pub const TASK_WORDS_MAX: usize = 256;

/// Raft ids that went and must not return: one a day for more than a century.
pub const MEMBERS_RETIRED_MAX: usize = 65_536;

/// Dead items are kept for redrive so long.
pub const DEAD_KEPT: Span = Span::seconds(14 * 24 * 3_600);
/// A waiting item rises by ten priorities after each of these, so that nothing starves.
pub const AGING_STEP: Span = Span::seconds(300);
/// Priorities that share one band: inside a band queues share by weight.
pub const BAND_WIDTH: u8 = 10;
/// Service counts half after this time: so long may a queue that comes back go before the others.
pub const SERVICE_HALF_LIFE: Span = Span::seconds(2);
/// A session ends when it was not heard of for so long: longer than any client retries.
pub const SESSION_TTL: Span = Span::seconds(600);
/// The shortest lease: below it a busy worker cannot renew in time.
pub const LEASE_MIN: Span = Span::seconds(1);
/// The longest lease: a longer silence must be seen as death.
pub const LEASE_MAX: Span = Span::seconds(3_600);
/// The lease of a claimer that names none.
pub const LEASE_DEFAULT: Span = Span::seconds(30);
/// The shortest time that a lock may be asked for.
pub const LOCK_TTL_MIN: Span = Span(100);
/// The longest time that a lock may be asked for: its owner renews it.
pub const LOCK_TTL_MAX: Span = Span::seconds(24 * 3_600);
/// The shortest wait for a lock; less is no wait.
pub const LOCK_WAIT_MIN: Span = Span(1);
/// The longest wait for a lock: who wants to wait longer says by asking again that it still lives.
pub const LOCK_WAIT_MAX: Span = Span::seconds(300);
/// A holder that is told of a cancellation has ended its process after so long: three seconds to end by
/// itself, and the kill. Until then the process has its devices.
pub const STOP_TIME: Span = Span::seconds(5);
/// How far one command may move replicated time beyond the leader's monotonic clock.
pub const CLOCK_STEP_MAX: Span = Span(500);
/// Attempts of an item that names no number, and the most that one may name.
pub const ATTEMPTS_DEFAULT: u32 = 3;
/// The most attempts that an item may ask for.
pub const ATTEMPTS_MAX: u32 = 100;
/// Claims of an item that end with their lease before its start, until it is dead: of so many holders
/// in a row not one fell silent by chance.
pub const CLAIMS_LOST_MAX: u32 = 20;
/// First delay before a retry.
pub const BACKOFF_BASE: Span = Span::seconds(1);
/// Longest delay before a retry.
pub const BACKOFF_CAP: Span = Span::seconds(300);
/// Doublings after which the delay before a retry has surely reached its cap.
pub const BACKOFF_DOUBLINGS_MAX: u32 = 16;
/// Time that one attempt may take when its item names none.
pub const ATTEMPT_TIMEOUT_DEFAULT: Span = Span::seconds(3_600);
/// The most time that one attempt may take: a training run of a month.
pub const ATTEMPT_TIMEOUT_MAX: Span = Span::seconds(31 * 24 * 3_600);
/// The longest time for which an item may wait for its first claim, or for its end.
pub const DEADLINE_MAX: Span = Span::seconds(366 * 24 * 3_600);
/// The longest delay of a new item.
pub const DELAY_MAX: Span = Span::seconds(366 * 24 * 3_600);

const _: () = assert!(LEASE_MIN.0 < LEASE_DEFAULT.0 && LEASE_DEFAULT.0 < LEASE_MAX.0);
const _: () = assert!(CLAIM_ITEMS_MAX <= HEARTBEAT_CLAIMS_MAX);
const _: () = assert!(PRIORITY_MAX.is_multiple_of(BAND_WIDTH));
const _: () = assert!(ARRAY_OUTSTANDING_MAX as usize <= ITEMS_FINISHED_MAX);
const _: () = assert!(ITEMS_UNFINISHED_MAX as u64 * RECORD_BYTES <= UNFINISHED_BYTES_MAX);
const _: () = assert!(SERVICE_HALF_LIFE.0 > 0 && AGING_STEP.0 > 0);
const _: () = assert!(LOCK_WAIT_MIN.0 < LOCK_WAIT_MAX.0);
const _: () = assert!(LOCK_WAITERS_MAX <= LOCK_WAITERS_IN_ALL_MAX);
const _: () = assert!(LOCK_TTL_MIN.0 < LOCK_TTL_MAX.0);
const _: () = assert!(ATTEMPT_TIMEOUT_DEFAULT.0 <= ATTEMPT_TIMEOUT_MAX.0);
const _: () = assert!(RUN_OUTSTANDING_MAX as usize <= ITEMS_FINISHED_MAX);
const _: () = assert!(KEY_BYTES_MAX >= NAME_BYTES_MAX + 32);
const _: () = assert!(ATTEMPTS_DEFAULT <= ATTEMPTS_MAX);
const _: () = assert!(PAIR_ATTEMPTS_MAX <= ATTEMPTS_MAX);
const _: () = assert!(PAIR_TIMEOUT_MIN.0 < PAIR_TIMEOUT_MAX.0);
const _: () = assert!(CONTESTANTS_MAX * (CONTESTANTS_MAX - 1) / 2 <= u16::MAX as usize);
