//! Which step a lane makes next: a pure choice over what could be done.
//!
//! The rule: the callable step that lies furthest downstream; between equals in turn; but a source gets
//! a step at least every [`SOURCE_EVERY_STEPS`]. Because the graph is acyclic and a sink's room does not
//! depend on the lane, the furthest step can always be made in the end, so a lane cannot deadlock.

/// A source that could make a step waits for at most this many other steps.
pub const SOURCE_EVERY_STEPS: u32 = 16;

/// The order in which a lane looks at its nodes.
#[derive(Debug)]
pub struct Schedule {
    /// Nodes by depth, deepest first; sources are the last.
    levels: Vec<Level>,
    since_source: u32,
}

#[derive(Debug)]
struct Level {
    nodes: Vec<usize>,
    turn: usize,
}

impl Schedule {
    /// A schedule for nodes of these depths (0 for sources), by node index.
    pub fn new(depths: &[usize]) -> Self {
        let deepest = depths.iter().copied().max().unwrap_or(0);
        let level = |depth| {
            let at_depth = |node: &usize| depths[*node] == depth;
            Level { nodes: (0..depths.len()).filter(at_depth).collect(), turn: 0 }
        };
        Self { levels: (0..=deepest).rev().map(level).collect(), since_source: 0 }
    }

    /// The node to make a step, given which nodes could.
    pub fn choose(&mut self, mut callable: impl FnMut(usize) -> bool) -> Option<usize> {
        let sources = self.levels.len() - 1;
        if self.since_source >= SOURCE_EVERY_STEPS
            && let Some(node) = self.levels[sources].choose(&mut callable)
        {
            self.since_source = 0;
            return Some(node);
        }
        for (index, level) in self.levels.iter_mut().enumerate() {
            if let Some(node) = level.choose(&mut callable) {
                self.since_source =
                    if index == sources { 0 } else { self.since_source.saturating_add(1) };
                return Some(node);
            }
        }
        None
    }
}

impl Level {
    fn choose(&mut self, callable: &mut impl FnMut(usize) -> bool) -> Option<usize> {
        let count = self.nodes.len();
        for offset in 0..count {
            let at = (self.turn + offset) % count;
            if callable(self.nodes[at]) {
                self.turn = at + 1;
                return Some(self.nodes[at]);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_furthest_downstream_step_comes_first() {
        let mut schedule = Schedule::new(&[0, 1, 2]);
        assert_eq!(schedule.choose(|_| true), Some(2));
        assert_eq!(schedule.choose(|node| node < 2), Some(1));
        assert_eq!(schedule.choose(|node| node < 1), Some(0));
        assert_eq!(schedule.choose(|_| false), None);
    }

    #[test]
    fn equals_take_turns() {
        let mut schedule = Schedule::new(&[0, 1, 1, 1]);
        let order: Vec<_> = (0..6).filter_map(|_| schedule.choose(|node| node > 0)).collect();
        assert_eq!(order, [1, 2, 3, 1, 2, 3]);
    }

    #[test]
    fn a_source_is_not_starved() {
        let mut schedule = Schedule::new(&[0, 1]);
        let steps: Vec<_> = (0..100).filter_map(|_| schedule.choose(|_| true)).collect();
        let sources = steps.iter().filter(|node| **node == 0).count();
        assert_eq!(sources, 100 / (SOURCE_EVERY_STEPS as usize + 1));
    }
}
