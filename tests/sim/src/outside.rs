//! Who sends to logged sources, outside of the machine: clients that number their lines, and a pipe.
//!
//! A client connects, is greeted with how many of its lines are durable, sends what follows, and hears what has
//! become durable; connections break, and acknowledgements get lost with them. It sends a line again, by its
//! number, until it is acknowledged. A pipe is read once. Oracle: what a client was told stays true.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tidemill_core::input_log::{Offer, Session};

use crate::model::partition_records;
use crate::plan::{Input, Plan};
use crate::receiver::{Line, Receiver};
use crate::rng::Rng;
use crate::trouble::{Violation, violation};
use crate::truth::Truth;

/// Lines that are sent at once at most.
const SENT_AT_ONCE: usize = 6;

/// What the host has told a connection.
#[derive(Clone, Debug, Default)]
pub struct Ear(Arc<AtomicU64>);

impl Ear {
    /// Tells up to which line all are durable.
    pub fn tell(&self, line: u64) {
        self.0.store(line, SeqCst);
    }

    fn told(&self) -> u64 {
        self.0.load(SeqCst)
    }
}

/// A client that numbers its lines.
struct Client {
    id: String,
    /// Lines that it has to send.
    lines: u64,
    /// Lines that it knows to be durable.
    heard: u64,
    connection: Option<(Session, Ear)>,
}

/// Who sends to one logged source.
pub struct Outside {
    node: usize,
    clients: Vec<Client>,
    /// Records that the pipe has given, of so many.
    given: usize,
    to_give: usize,
    /// Records of the pipe that may have been lost.
    lost: BTreeSet<usize>,
}

impl Outside {
    /// The senders of a node.
    pub fn new(plan: &Plan, node: usize) -> Self {
        let client = |client: usize| Client {
            id: format!("client{client}"),
            lines: partition_records(client, plan.clients, plan.records),
            heard: 0,
            connection: None,
        };
        let is_pipe = plan.inputs[node] == Input::Stdin;
        Self {
            node,
            clients: match plan.inputs[node] {
                Input::Clients => (0..plan.clients).map(client).collect(),
                Input::Again | Input::Stdin | Input::Relayed => Vec::new(),
            },
            given: 0,
            to_give: if is_pipe { plan.records } else { 0 },
            lost: BTreeSet::new(),
        }
    }

    /// Everything was sent, and acknowledged as far as it is.
    pub fn is_done(&self) -> bool {
        self.given == self.to_give && self.clients.iter().all(|client| client.heard == client.lines)
    }

    /// Somebody does the next thing; answers whether there was one.
    ///
    /// # Errors
    /// A promise was broken.
    pub fn work(
        &mut self,
        receiver: &mut Receiver,
        truth: &Truth,
        rng: &mut Rng,
        now_ms: i64,
        is_kind: bool,
    ) -> Result<bool, Violation> {
        if receiver.intake.is_stopping() || !receiver.is_receiving() {
            return Ok(false);
        }
        if self.given < self.to_give {
            if !receiver.has_room() {
                return Ok(false);
            }
            let count = (1 + rng.below(SENT_AT_ONCE)).min(self.to_give - self.given);
            let given = self.given..self.given + count;
            receiver.receive(given.map(|number| Line { number, client: None }));
            self.given += count;
            return Ok(true);
        }
        let (count, first) = (self.clients.len(), rng.below(self.clients.len().max(1)));
        for at in (0..count).map(|offset| (first + offset) % count) {
            let client = &mut self.clients[at];
            let known = truth.lines(self.node, at);
            if client.work((at, count), receiver, known, rng, now_ms, is_kind)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The process is gone, and its connections are. `was_orderly`: it has made all durable that it received.
    ///
    /// # Errors
    /// It has not.
    pub fn process_ended(
        &mut self,
        plan: &Plan,
        truth: &Truth,
        rng: &mut Rng,
        was_orderly: bool,
    ) -> Result<(), Violation> {
        for (at, client) in self.clients.iter_mut().enumerate() {
            // What was told may have come through.
            if rng.one_in(2) {
                client.hear(truth.lines(self.node, at))?;
            }
            client.connection = None;
        }
        let missing = self.missing(plan, truth);
        if was_orderly && let Some(number) = missing.difference(&self.lost).next() {
            let message = format!("record {number} of the pipe of node {}", self.node);
            return Err(violation("an orderly end keeps what was received", message));
        }
        self.lost.extend(missing);
        Ok(())
    }

    /// Records of the pipe that are not in the log.
    fn missing(&self, plan: &Plan, truth: &Truth) -> BTreeSet<usize> {
        if plan.inputs[self.node] != Input::Stdin {
            return BTreeSet::new();
        }
        let mut missing: BTreeSet<usize> = (0..self.given).collect();
        for number in truth.all(self.node) {
            missing.remove(&number);
        }
        missing
    }

    /// All was sent: what must have come of it has.
    ///
    /// # Errors
    /// Something is missing.
    pub fn check_end(&self, plan: &Plan, truth: &Truth) -> Result<(), Violation> {
        let missing = self.missing(plan, truth);
        let of_pipe = missing.difference(&self.lost).next().copied();
        let mut clients = self.clients.iter().enumerate();
        let of_client = clients.find(|(at, client)| truth.lines(self.node, *at) != client.lines);
        match (self.is_done(), of_pipe, of_client) {
            (true, None, None) => Ok(()),
            (is_done, record, client) => {
                let client = client.map(|(_, client)| &client.id);
                let message = format!("node {}: {is_done} {record:?} {client:?}", self.node);
                Err(violation("all that was sent is logged at the end", message))
            }
        }
    }
}

impl Client {
    /// Hears what it was told; answers whether that was news. `known` are its lines in the log.
    fn hear(&mut self, known: u64) -> Result<bool, Violation> {
        let Some((_, ear)) = &self.connection else { return Ok(false) };
        let told = ear.told();
        if told > known || told < self.heard {
            let message = format!("{} heard {} and {told}, of {known}", self.id, self.heard);
            return Err(violation("what is acknowledged is durable", message));
        }
        Ok(std::mem::replace(&mut self.heard, told) != told)
    }

    fn work(
        &mut self,
        (at, clients): (usize, usize),
        receiver: &mut Receiver,
        known: u64,
        rng: &mut Rng,
        now_ms: i64,
        is_kind: bool,
    ) -> Result<bool, Violation> {
        if self.hear(known)? {
            return Ok(true);
        }
        let Receiver { numbering, .. } = receiver;
        let Some((session, _)) = &mut self.connection else {
            if self.heard == self.lines {
                return Ok(false);
            }
            let ear = Ear::default();
            let greeted = |line| {
                ear.tell(line);
                ear.clone()
            };
            let session = numbering.hello(&self.id, now_ms, greeted);
            self.connection = session.map(|session| (session, ear));
            self.hear(known)?;
            return Ok(true);
        };
        let is_over = self.heard == self.lines;
        if is_over || (!is_kind && rng.one_in(20)) {
            // The host notices that it is gone, or hears of the next connection first.
            if is_over || rng.one_in(2) {
                numbering.bye(session);
            }
            self.connection = None;
            return Ok(true);
        }
        let left = (self.lines - session.last_line()) as usize;
        if left == 0 || !receiver.has_room() {
            return Ok(false);
        }
        let count = (1 + rng.below(SENT_AT_ONCE)).min(left) as u64;
        let Offer::Fresh { known, last_line } = receiver.numbering.offer(session, count) else {
            self.connection = None;
            return Ok(true);
        };
        let fresh = session.last_line() + known..last_line;
        let client = session.client().clone();
        receiver.numbering.taken(session, last_line, now_ms);
        receiver.receive(fresh.map(|line| Line {
            number: at + line as usize * clients,
            client: Some((client.clone(), line + 1)),
        }));
        Ok(true)
    }
}
