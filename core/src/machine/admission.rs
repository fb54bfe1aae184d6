//! What may enter: bounds, idempotency keys, all of a batch or none of it.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Machine, digest, invalid};
use crate::id::QueueName;
use crate::id::WorkId;
use crate::limits;
use crate::queue::command::{Refusal, Reply};
use crate::queue::item::{Item, Needs, NewItem, Payload, State};
use crate::queue::resources::Demand;
use crate::time::Span;

/// Keys of items that planners enqueue begin so; no other may.
const RUN_KEYS: &str = "run/";

/// Which items a command may bring.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    /// A submitter: items of their own.
    Submitter,
    /// A submitter of so many items that are alike but for their index.
    OfArray { count: u32 },
    /// A planner: parts of its run.
    Planner,
    /// A worker that completes: items of their own, which the limits of queues let pass, and one of
    /// which takes the place of what ends.
    Worker {
        /// Bytes of what ends.
        ended_bytes: u64,
    },
}

impl Machine {
    /// Adds items, all of them or none.
    pub(super) fn enqueue(&mut self, requests: &[NewItem]) -> Result<Reply, Refusal> {
        let admitted = self.examine(requests, Source::Submitter)?;
        Ok(Reply::Enqueued(self.admit_all(requests, admitted)))
    }

    /// Judges a batch without changing anything. Answers for each request the item that it repeats,
    /// or nothing when it is new.
    pub(super) fn examine(
        &self,
        requests: &[NewItem],
        source: Source,
    ) -> Result<Vec<Admission>, Refusal> {
        if requests.len() > limits::BATCH_ITEMS_MAX {
            let problem =
                format!("holds {} of at most {}", requests.len(), limits::BATCH_ITEMS_MAX);
            return Err(invalid("items", problem));
        }
        let mut seen: BTreeMap<(&QueueName, &str), usize> = BTreeMap::new();
        let mut classes: BTreeSet<(&str, &QueueName, &Needs)> = BTreeSet::new();
        let mut queues: BTreeMap<&QueueName, u64> = BTreeMap::new();
        let mut admissions = Vec::with_capacity(requests.len());
        let (mut fresh, mut bytes) = (0_u64, 0_u64);
        for (at, request) in requests.iter().enumerate() {
            check_request(at, request, source)?;
            self.check_room(&request.queue, 0)?;
            let mut admission = Admission::Fresh;
            if let Some(key) = request.key.as_deref() {
                admission = self.known(key, request, source)?;
                let first = *seen.entry((&request.queue, key)).or_insert(at);
                if matches!(admission, Admission::Fresh) && first < at {
                    admission = repeat_in_batch(requests, first, at)?;
                }
            }
            if matches!(admission, Admission::Fresh) {
                fresh += 1;
                bytes = bytes.saturating_add(request.bytes());
                self.check_dependencies(at, request)?;
                *queues.entry(&request.queue).or_default() += 1;
                if !self.has_class(request) {
                    classes.insert((&request.work_type, &request.queue, &request.needs));
                }
            }
            admissions.push(admission);
        }
        if !matches!(source, Source::Worker { .. }) {
            for (queue, more) in queues {
                self.check_room(queue, more)?;
            }
        }
        self.check_records(fresh, bytes, source)?;
        if self.index.classes.saturating_add(classes.len()) > limits::CLASSES_MAX {
            return Err(Refusal::TooManyKinds { limit: limits::CLASSES_MAX as u64 });
        }
        Ok(admissions)
    }

    /// Whether so many more items may have records of their own. What ends makes room for one that
    /// follows from it, so that a full queue of such items drains.
    fn check_records(&self, fresh: u64, fresh_bytes: u64, source: Source) -> Result<(), Refusal> {
        let ((ended, ended_bytes), (spare, spare_bytes)) = match source {
            Source::Submitter | Source::OfArray { .. } | Source::Planner => ((0, 0), (0, 0)),
            Source::Worker { ended_bytes } => {
                ((1, ended_bytes), (self.bounds.follow_ups, self.bounds.follow_up_bytes))
            }
        };
        let (more, more_bytes) =
            (fresh.saturating_sub(ended), fresh_bytes.saturating_sub(ended_bytes));
        let (held, limit) = (self.records(), self.bounds.records.saturating_add(spare));
        if more > 0 && held.saturating_add(more) > limit {
            return Err(Refusal::Full { held, limit });
        }
        let (bytes, limit) = (self.index.bytes, self.bounds.bytes.saturating_add(spare_bytes));
        if more_bytes > 0 && bytes.saturating_add(more_bytes) > limit {
            return Err(Refusal::TooHeavy { bytes, limit });
        }
        Ok(())
    }

    /// Carries out what [`Self::examine`] judged.
    pub(super) fn admit_all(
        &mut self,
        requests: &[NewItem],
        admissions: Vec<Admission>,
    ) -> Vec<(WorkId, bool)> {
        let mut numbers: Vec<(WorkId, bool)> = Vec::with_capacity(requests.len());
        for (request, admission) in requests.iter().zip(admissions) {
            let number = match admission {
                Admission::Fresh => (self.admit(request, &numbers), true),
                Admission::Repeats(id) => (id, false),
                Admission::RepeatsInBatch(first) => {
                    (numbers.get(first).map_or(WorkId(0), |(id, _)| *id), false)
                }
            };
            numbers.push(number);
        }
        numbers
    }

    fn admit(&mut self, request: &NewItem, earlier: &[(WorkId, bool)]) -> WorkId {
        self.facts.totals.enqueued += 1;
        let id = WorkId(self.facts.totals.enqueued);
        let now = self.facts.now;
        let awaited = Self::awaited(request, earlier);
        let open = self.open_dependencies(&awaited);
        let state = if !open.is_empty() {
            State::Blocked { open }
        } else if request.delay == Span::default() {
            State::Ready { since: now }
        } else {
            State::Delayed { until: now.after(request.delay) }
        };
        let item = Item {
            id,
            request: request.clone(),
            awaited,
            state,
            attempts: 0,
            deliveries: 0,
            claims_lost: 0,
            created: now,
            last_error: None,
            last_node: None,
        };
        self.index.admit(&item);
        self.index.remember_key(&item);
        self.index.enter(&item);
        let group = super::index::group_of(&item.request);
        self.facts.items.insert(id, item);
        if let Some(group) = group {
            self.index.reseat(&self.facts, &group);
        }
        id
    }

    fn has_class(&self, request: &NewItem) -> bool {
        let classes = self.index.classes_of(&request.work_type, &request.queue);
        classes.is_some_and(|classes| classes.contains_key(&request.needs))
    }

    /// What the machine knows under this key of the request's queue. One item and an array of one are
    /// not the same.
    fn known(&self, key: &str, request: &NewItem, source: Source) -> Result<Admission, Refusal> {
        let count = match source {
            Source::OfArray { count } => Some(count),
            Source::Submitter | Source::Planner | Source::Worker { .. } => None,
        };
        let (queue, index) = (&request.queue, &self.index);
        let forgotten = || self.facts.forgotten.get(&index.forgotten.get(queue, key)?);
        let (work_id, same) = if let Some(id) = index.keys.get(queue, key) {
            let array = self.facts.arrays.get(&id);
            let array = array.map(|array| (&*array.request, Some(array.count)));
            let item = || self.item(id).map(|item| (&item.request, None));
            (id, array.or_else(item) == Some((request, count)))
        } else if let Some(known) = forgotten() {
            (known.work_id, known.digest == digest::of_request(request, count))
        } else {
            return Ok(Admission::Fresh);
        };
        if same {
            Ok(Admission::Repeats(work_id))
        } else {
            Err(Refusal::KeyConflict { key: key.into(), work_id })
        }
    }
}

/// What becomes of one request of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) enum Admission {
    /// A new item.
    Fresh,
    /// An item that is or was there.
    Repeats(WorkId),
    /// The item of an earlier request of the same batch, at this place.
    RepeatsInBatch(usize),
}

fn repeat_in_batch(requests: &[NewItem], first: usize, at: usize) -> Result<Admission, Refusal> {
    if requests.get(first) == requests.get(at) {
        return Ok(Admission::RepeatsInBatch(first));
    }
    let problem = format!("is the key of items[{first}] too, which asks for something else");
    Err(invalid(format!("items[{at}].key"), problem))
}

fn check_request(at: usize, request: &NewItem, source: Source) -> Result<(), Refusal> {
    let NewItem {
        key,
        queue: _,
        work_type,
        priority,
        payload,
        needs,
        attempts_max,
        attempt_timeout,
        pending_timeout,
        total_timeout,
        delay,
        group: _,
        after: _,
        notify: _,
    } = request;
    let field = |name: &str| format!("items[{at}].{name}");
    if let Some(key) = key {
        check_text(&field("key"), key, limits::KEY_BYTES_MAX)?;
    }
    check_text(&field("work_type"), work_type, limits::NAME_BYTES_MAX)?;
    if *priority > limits::PRIORITY_MAX {
        return Err(invalid(
            field("priority"),
            format!("must be at most {}", limits::PRIORITY_MAX),
        ));
    }
    check_payload(&field, source, key.as_deref(), payload)?;
    check_needs(&field("needs"), needs)?;
    if !(1..=limits::ATTEMPTS_MAX).contains(attempts_max) {
        let problem = format!("must be 1 to {}", limits::ATTEMPTS_MAX);
        return Err(invalid(field("attempts_max"), problem));
    }
    check_span(&field("attempt_timeout"), *attempt_timeout, Span(1), limits::ATTEMPT_TIMEOUT_MAX)?;
    for (name, span) in [("pending_timeout", pending_timeout), ("total_timeout", total_timeout)] {
        if let Some(span) = span {
            check_span(&field(name), *span, Span(1), limits::DEADLINE_MAX)?;
        }
    }
    check_span(&field("delay"), *delay, Span(0), limits::DELAY_MAX)
}

fn check_payload(
    field: &impl Fn(&str) -> String,
    source: Source,
    key: Option<&str>,
    payload: &Payload,
) -> Result<(), Refusal> {
    let of_planner = key.is_some_and(|key| key.starts_with(RUN_KEYS));
    match (source, payload) {
        (_, Payload::OfArray(_)) => {
            Err(invalid(field("payload"), "may be part of an array only when the array is claimed"))
        }
        (Source::Submitter | Source::OfArray { .. } | Source::Worker { .. }, Payload::OfRun(_)) => {
            Err(invalid(field("payload"), "may be part of a run only when its planner asks"))
        }
        (
            Source::Submitter | Source::OfArray { .. } | Source::Worker { .. },
            Payload::Opaque(_),
        ) if of_planner => {
            let problem = format!("must not begin with {RUN_KEYS:?}, which runs use");
            Err(invalid(field("key"), problem))
        }
        (
            Source::Submitter | Source::OfArray { .. } | Source::Worker { .. },
            Payload::Opaque(text),
        ) => {
            if text.len() > limits::PAYLOAD_BYTES_MAX {
                let problem =
                    format!("holds {} of at most {} bytes", text.len(), limits::PAYLOAD_BYTES_MAX);
                return Err(invalid(field("payload"), problem));
            }
            Ok(())
        }
        (Source::Planner, Payload::OfRun(_)) if of_planner => Ok(()),
        (Source::Planner, Payload::OfRun(_)) => {
            Err(invalid(field("key"), format!("must begin with {RUN_KEYS:?}")))
        }
        (Source::Planner, Payload::Opaque(_)) => {
            Err(invalid(field("payload"), "must be part of the run"))
        }
    }
}

fn check_needs(field: &str, needs: &Needs) -> Result<(), Refusal> {
    let Needs { capabilities, labels, demand } = needs;
    if !demand.is_placeable() {
        let Demand { gpu_milli, .. } = demand;
        let problem = format!("is {gpu_milli}, neither below one device nor whole devices");
        return Err(invalid(format!("{field}.gpu_milli"), problem));
    }
    check_words(&format!("{field}.capabilities"), capabilities.len(), capabilities.iter())?;
    let words = labels.iter().flat_map(|(label, value)| [label, value]);
    check_words(&format!("{field}.labels"), labels.len(), words)
}

/// A bounded number of bounded words, for needs and for claimers alike. Values may be empty.
pub(super) fn check_words<'a>(
    field: &str,
    count: usize,
    mut words: impl Iterator<Item = &'a String>,
) -> Result<(), Refusal> {
    if count > limits::NEEDS_MAX {
        return Err(invalid(field, format!("holds {count} of at most {}", limits::NEEDS_MAX)));
    }
    if words.any(|word| word.len() > limits::NAME_BYTES_MAX) {
        return Err(invalid(
            field,
            format!("must be words of at most {} bytes", limits::NAME_BYTES_MAX),
        ));
    }
    Ok(())
}

/// A text that is neither empty nor too long.
pub(super) fn check_text(field: &str, text: &str, bytes_max: usize) -> Result<(), Refusal> {
    if text.is_empty() || text.len() > bytes_max {
        return Err(invalid(field, format!("must be 1 to {bytes_max} bytes long")));
    }
    Ok(())
}

/// A span within its bounds.
pub(super) fn check_span(field: &str, span: Span, min: Span, max: Span) -> Result<(), Refusal> {
    if span < min || span > max {
        return Err(invalid(field, format!("must be {min} to {max}, not {span}")));
    }
    Ok(())
}
