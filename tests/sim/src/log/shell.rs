//! Whom the log tells: receivers, the supervisor, and what is known of the log.

use std::collections::VecDeque;

use tidemill_core::wal::{Append, Committed, GroupEvents, Progress, Usage, WalCounters, WalError};

use super::{Source, Tag};
use crate::env::Env;
use crate::mail::{Event, Mailbox, Sender};
use crate::receiver::{Receiver, lock};
use crate::trouble::{Trouble, Violation, blame, violation};

/// Whom the log tells.
pub(super) struct Shell<'a> {
    sources: &'a [Source],
    pub(super) env: &'a mut Env,
    mailbox: &'a Mailbox,
    problem: Option<Violation>,
}

impl<'a> Shell<'a> {
    pub(super) fn new(sources: &'a [Source], env: &'a mut Env, mailbox: &'a Mailbox) -> Self {
        Self { sources, env, mailbox, problem: None }
    }

    pub(super) fn end(self, outcome: Result<(), WalError>) -> Result<(), Trouble> {
        if let Some(problem) = self.problem {
            return Err(problem.into());
        }
        outcome.map_err(|error| blame(&self.env.places.disk, "the log does not fail", error))
    }
}

impl GroupEvents<Tag> for Shell<'_> {
    fn trimmed(&mut self, bytes: u64) {
        self.env.events.trimmed += u64::from(bytes > 0);
    }

    fn writing(&mut self, _: WalCounters) {}

    fn written(&mut self, counters: WalCounters) {
        self.env.note(format_args!("log {counters:?}"));
    }

    fn durable(&mut self, batches: &mut VecDeque<Committed<Tag>>, _: Progress<'_, Tag>) {
        for Committed { lsn, seq, tag, .. } in batches.drain(..) {
            let Tag { source, part, run, order, numbers } = tag;
            let mut receiver = lock(&self.sources[source].receiver);
            let Env { truth, plan, .. } = &mut *self.env;
            let settled = truth.settled(plan, (receiver.node, part), seq, &numbers);
            self.problem = self.problem.take().or(settled.err());
            let Receiver { intake, numbering, .. } = &mut *receiver;
            intake.settled(run, order, (seq, lsn), |marks| {
                numbering.durable(marks, |ear, line| ear.tell(line));
            });
        }
    }

    fn too_large(&mut self, _: Append<Tag>, error: WalError, _: Progress<'_, Tag>) {
        self.problem = Some(violation("every batch can be logged", error));
    }

    fn pressure(&mut self, _: Usage) {
        self.env.events.pressed += 1;
        self.mailbox.send(Sender::Log, Event::WalPressure);
    }
}
