//! Whose turn it is among the lanes that give way.
//!
//! Pure: takes what lanes ask for and what time it is, and says which of them go on. No more of them run at once than there are
//! places, one for each core: a kernel owes each thread that wants a core its part, however small, and pays it in ticks, so
//! that whoever wakes up beside ten threads of the lowest priority waits a tick now and then, and beside two does not. Turns go
//! round by tenants' shares and not by their lanes. Invariants: a lane that asks when a place is free and nobody waits has it; a
//! place does not stay empty while a lane waits; what a turn took while somebody waited counts, and no more than one turn besides. Whoever
//! comes begins with what the newest has had: a debt is forgotten with it, and nobody can save turns up.

use std::collections::VecDeque;

/// How long a turn is, in microseconds, if anybody waits for the next one.
pub(super) const TURN_US: u64 = 5_000;
/// What a tenant that has too few lanes for its share, and always wants more, may be behind with and have back at once, in
/// microseconds. Without it, it would now and then wait for a turn with more to spare than anybody else.
const BEHIND_US: u64 = 4 * TURN_US;
/// What one turn costs at the most, in microseconds, and when its place goes to another lane whatever this one does: a step in the
/// host's own code is over when it is over.
pub(super) const TURN_MAX_US: u64 = 200 * TURN_US;
/// Keeps quotients by shares apart.
const SHARE_UNIT: u64 = 1 << 10;

/// Who asks for turns: `T` tells tenants apart, `L` lanes.
#[derive(Debug)]
pub(super) struct Turns<T, L> {
    places: usize,
    running: Vec<Running<T, L>>,
    lines: Vec<Line<T, L>>,
    /// The most that a tenant had taken, for a share of one, when one of its lanes was let in.
    newest: u64,
}

#[derive(Debug)]
struct Running<T, L> {
    tenant: T,
    lane: L,
    since_us: u64,
}

/// The lanes of one tenant that wait, in the order in which they came.
#[derive(Debug)]
struct Line<T, L> {
    tenant: T,
    share: u64,
    /// What it has taken for a share of one; turns that are not over count as whole ones.
    taken: u64,
    waiting: VecDeque<L>,
}

impl<T: Copy + PartialEq, L: Clone + PartialEq> Turns<T, L> {
    /// So many lanes may run at once.
    pub(super) fn new(places: usize) -> Self {
        Self { places: places.max(1), running: Vec::new(), lines: Vec::new(), newest: 0 }
    }

    /// A lane has had a core for its turn only from then on.
    pub(super) fn has_begun(&mut self, lane: &L, at_us: u64) {
        if let Some(running) = self.running.iter_mut().find(|running| running.lane == *lane) {
            running.since_us = running.since_us.max(at_us);
        }
    }

    /// A lane whose turn is over goes on with a new one, if it has one and nobody waits: what nobody else wants costs nothing.
    pub(super) fn renew(&mut self, lane: &L, now_us: u64) -> bool {
        let is_awaited = self.is_awaited();
        match self.running.iter_mut().find(|running| running.lane == *lane) {
            Some(running) if !is_awaited => {
                running.since_us = now_us;
                true
            }
            _ => false,
        }
    }

    /// Whether somebody waits.
    pub(super) fn is_awaited(&self) -> bool {
        self.lines.iter().any(|line| !line.waiting.is_empty())
    }

    /// A lane of a tenant with this share would run, and stands in line for it, behind the turn that it had if any; answers whose
    /// turns begin, its own perhaps.
    pub(super) fn ask(&mut self, tenant: T, share: u64, lane: L, now_us: u64) -> Vec<L> {
        let newest = self.newest;
        let waits = |line: &Line<T, L>| line.tenant == tenant && !line.waiting.is_empty();
        let is_there = self.running.iter().any(|running| running.tenant == tenant)
            || self.lines.iter().any(waits);
        if !self.is_awaited() {
            // Until now nobody else wanted it.
            let since_us = now_us.saturating_sub(TURN_US);
            let those = self.running.iter_mut();
            those.for_each(|running| running.since_us = running.since_us.max(since_us));
        }
        self.settle(&lane, now_us);
        let at = self.lines.iter().position(|line| line.tenant == tenant).unwrap_or_else(|| {
            let (share, waiting) = (share.max(1), VecDeque::new());
            self.lines.push(Line { tenant, share, taken: newest, waiting });
            self.lines.len() - 1
        });
        let line = &mut self.lines[at];
        // Nobody saves turns up.
        let behind = if is_there { BEHIND_US * SHARE_UNIT / line.share } else { 0 };
        line.taken = line.taken.max(newest.saturating_sub(behind));
        line.waiting.push_back(lane);
        self.let_in(now_us)
    }

    /// A lane runs no more, or would no longer; answers whose turns begin.
    pub(super) fn leave(&mut self, lane: &L, now_us: u64) -> Vec<L> {
        self.settle(lane, now_us);
        self.let_in(now_us)
    }

    /// Takes a lane out, and counts what its turn has really taken.
    fn settle(&mut self, lane: &L, now_us: u64) {
        let Some(at) = self.running.iter().position(|running| running.lane == *lane) else {
            let waits = |line: &mut Line<T, L>| line.waiting.retain(|waiting| waiting != lane);
            self.lines.iter_mut().for_each(waits);
            return;
        };
        let Running { tenant, since_us, .. } = self.running.swap_remove(at);
        if let Some(line) = self.lines.iter_mut().find(|line| line.tenant == tenant) {
            let took = now_us.saturating_sub(since_us).min(TURN_MAX_US) * SHARE_UNIT / line.share;
            line.taken = (line.taken + took).saturating_sub(TURN_US * SHARE_UNIT / line.share);
        }
    }

    /// Lanes whose turns began more than so long ago.
    pub(super) fn since(&self, time_us: u64, now_us: u64) -> impl Iterator<Item = &L> {
        let overdue = move |running: &&Running<T, L>| now_us > running.since_us + time_us;
        self.running.iter().filter(overdue).map(|running| &running.lane)
    }

    /// Whether whoever asks has to wait.
    pub(super) fn is_full(&self) -> bool {
        self.running.len() >= self.places
    }

    /// Lanes that wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &L> {
        self.lines.iter().flat_map(|line| &line.waiting)
    }

    /// Lets lanes in as long as there are places, and forgets of whom there is nothing to remember.
    fn let_in(&mut self, now_us: u64) -> Vec<L> {
        let mut entered = Vec::new();
        while self.running.len() < self.places {
            let with_lanes = self.lines.iter_mut().filter(|line| !line.waiting.is_empty());
            let Some(line) = with_lanes.min_by_key(|line| line.taken) else { break };
            let Some(lane) = line.waiting.pop_front() else { break };
            self.newest = self.newest.max(line.taken);
            line.taken += TURN_US * SHARE_UNIT / line.share;
            let (tenant, since_us) = (line.tenant, now_us);
            self.running.push(Running { tenant, lane: lane.clone(), since_us });
            entered.push(lane);
        }
        let (newest, running) = (self.newest, &self.running);
        self.lines.retain(|line| {
            let runs = running.iter().any(|running| running.tenant == line.tenant);
            runs || !line.waiting.is_empty() || line.taken > newest
        });
        entered
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lanes of tenants with these shares want to run all the time: for how long each tenant did, in parts of all there is.
    fn model(tenants: &[(u64, u32)], places: usize, turn_us: impl Fn(usize) -> u64) -> Vec<f64> {
        const TURNS: u32 = 20_000;
        let mut turns = Turns::new(places);
        let mut ends: Vec<(u64, (usize, u32))> = Vec::new();
        let (mut took_us, mut now_us) = (vec![0u64; tenants.len()], 0);
        for (tenant, (share, lanes)) in tenants.iter().enumerate() {
            for lane in 0..*lanes {
                let entered = turns.ask(tenant, *share, (tenant, lane), now_us);
                ends.extend(entered.into_iter().map(|lane| (turn_us(lane.0), lane)));
            }
        }
        for _ in 0..TURNS {
            ends.sort_unstable();
            let (end_us, (tenant, lane)) = ends.remove(0);
            took_us[tenant] += turn_us(tenant);
            now_us = end_us;
            let entered = turns.ask(tenant, tenants[tenant].0, (tenant, lane), now_us);
            ends.extend(entered.into_iter().map(|lane| (now_us + turn_us(lane.0), lane)));
        }
        let all_us: u64 = took_us.iter().sum();
        took_us.iter().map(|us| *us as f64 / all_us as f64).collect()
    }

    fn is_about(parts: &[f64], expected: &[f64]) -> bool {
        parts.iter().zip(expected).all(|(part, expected)| (part - expected).abs() < 0.01)
    }

    #[test]
    fn turns_go_round_by_shares_and_not_by_lanes() {
        let parts = model(&[(1, 1), (1, 64), (2, 4)], 2, |_| TURN_US);
        assert!(is_about(&parts, &[0.25, 0.25, 0.5]), "{parts:?}");
    }

    #[test]
    fn who_has_too_few_lanes_for_its_share_leaves_the_rest_to_others() {
        for at in 0..3 {
            let (mut tenants, mut expected) = ([(1, 64); 3], [0.25; 3]);
            (tenants[at], expected[at]) = ((9, 1), 0.5);
            let parts = model(&tenants, 2, |_| TURN_US);
            assert!(is_about(&parts, &expected), "{parts:?}");
        }
    }

    #[test]
    fn who_takes_longer_for_each_turn_has_fewer_of_them() {
        let parts = model(&[(1, 8), (1, 8)], 2, |tenant| [TURN_US, 40 * TURN_US][tenant]);
        assert!(is_about(&parts, &[0.5, 0.5]), "{parts:?}");
    }

    #[test]
    fn nobody_saves_turns_up_and_what_nobody_else_wanted_costs_nothing() {
        let mut turns = Turns::new(1);
        assert_eq!(turns.ask('a', 1, 1, 0), [1]);
        assert!(turns.renew(&1, 3_600_000_000));
        let now_us = 3_600_000_000 + TURN_US;
        assert!(turns.ask('b', 1, 2, now_us).is_empty() && !turns.renew(&1, now_us));
        let mut order = Vec::new();
        let mut running = 1;
        for turn in 0..6 {
            let tenant = if running == 1 { 'a' } else { 'b' };
            let entered = turns.ask(tenant, 1, running, now_us + turn * TURN_US);
            running = entered[0];
            order.push(running);
        }
        assert_eq!(order, [2, 1, 2, 1, 2, 1]);
    }

    #[test]
    fn a_turn_is_as_old_as_it_is_from_when_its_lane_had_a_core() {
        let mut turns = Turns::new(2);
        turns.ask('a', 1, 1, 0);
        assert!(!turns.is_full());
        turns.ask('a', 1, 2, TURN_US);
        assert!(turns.is_full());
        let old = |turns: &Turns<char, i32>, now_us| -> Vec<i32> {
            turns.since(TURN_US, now_us).copied().collect()
        };
        assert_eq!((old(&turns, TURN_US), old(&turns, TURN_US + 1)), (vec![], vec![1]));
        turns.has_begun(&1, TURN_US);
        assert!(old(&turns, TURN_US + 1).is_empty());
        assert_eq!(old(&turns, 2 * TURN_US + 1), [1, 2]);
    }

    /// How many turns the other one has before `a` has its next, whose first turn lasts for so long and is wanted by the other one
    /// from then on.
    fn turns_of_another_after(took_us: u64, wanted_at_us: u64) -> usize {
        let mut turns = Turns::new(1);
        assert_eq!(turns.ask('a', 1, 1, 0), [1]);
        assert!(turns.ask('b', 1, 2, wanted_at_us).is_empty());
        assert_eq!(turns.ask('a', 1, 1, took_us), [2]);
        (1..).find(|turn| turns.ask('b', 1, 2, took_us + turn * TURN_US) == [1]).unwrap() as usize
    }

    #[test]
    fn what_a_turn_takes_before_anybody_wants_it_costs_nothing_and_none_costs_for_ever() {
        assert_eq!(turns_of_another_after(TURN_US, 0), 1);
        assert_eq!(turns_of_another_after(10 * TURN_US, 0), 10);
        assert_eq!(turns_of_another_after(10 * TURN_US, 8 * TURN_US), 3);
        assert_eq!(turns_of_another_after(3_600_000_000, 0), 200);
    }

    proptest! {
        #[test]
        fn places_are_never_empty_while_somebody_waits_and_nobody_has_two(
            places in 1usize..4,
            steps in proptest::collection::vec((0u32..12, 0u64..9_000, any::<bool>()), 1..300),
        ) {
            let mut turns = Turns::new(places);
            let (mut running, mut waiting, mut now_us) = (Vec::new(), Vec::new(), 0);
            for (lane, later_us, asks) in steps {
                now_us += later_us;
                let is_known = running.contains(&lane) || waiting.contains(&lane);
                let entered = if asks && !is_known {
                    waiting.push(lane);
                    turns.ask(lane, u64::from(lane), lane, now_us)
                } else {
                    running.retain(|other| *other != lane);
                    waiting.retain(|other| *other != lane);
                    turns.leave(&lane, now_us)
                };
                waiting.retain(|lane| !entered.contains(lane));
                running.extend(entered);
                let mut waits: Vec<u32> = turns.waiting().copied().collect();
                waits.sort_unstable();
                waiting.sort_unstable();
                prop_assert_eq!(&waits, &waiting);
                prop_assert!(running.len() == places || running.len() < places && waiting.is_empty());
                // What is remembered is of those who are there, or have left with a debt.
                let is_known = |line: &Line<u32, u32>| {
                    running.contains(&line.tenant) || waiting.contains(&line.tenant)
                };
                prop_assert!(turns.lines.iter().all(|it| is_known(it) || it.taken > turns.newest));
            }
        }
    }
}
