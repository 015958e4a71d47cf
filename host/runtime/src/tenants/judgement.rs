//! Who is to give way to whom, from what tenants have used.
//!
//! Pure: takes what was seen since the last look, and remembers what it must of the looks before. While cores are short,
//! who would take more than its share gives way. While they are not, giving way costs nothing but the moment in which somebody
//! else wakes up, who would wait for a core until the next tick otherwise: then whoever uses clearly more than another does it, and
//! who is held by its quota of CPU time, for its lanes all go on at the same moment. Invariants: while cores are short, nobody
//! gives way for its share unless somebody else is there who has what it wants, or no more than its share; nobody goes
//! without half of its share for long; and while they are not, who uses the least of late never gives way but for its quota.

/// Who uses less than this part of its share has what it wants, in hundredths.
const CONTENT_PERCENT: u64 = 80;
/// Who uses less than this part of its share of all that the cores have takes nothing that others would miss, whatever they
/// are seen to use.
const HARMLESS_PERCENT: u64 = 10;
/// Who has been told is told otherwise only with so much less, so that nobody goes to and fro.
const SLACK_PERCENT: u64 = 20;
/// What everybody has who would take more: this part of its share of what all of those use, and of what is used by nobody knows
/// whom, in hundredths. Those who give way have what is left, and threads that receive and log for somebody keep their priority.
const FLOOR_PERCENT: u64 = 50;
/// Who is short of that for as much as it comes to in so many looks does not give way until it has had its whole share.
const SHORT_LOOKS: u64 = 10;
/// What somebody is short of is remembered up to so many looks of its share.
const SHORT_LOOKS_MAX: u64 = 50;
/// Who uses more than this part of its share takes what is others', in hundredths; below it, who was told stays told.
const GREEDY_PERCENT: u64 = 120;
/// A tenant is there until its jobs have done nothing for so many looks. A job that waits for input has threads that look after it now
/// and then, which is no work.
const QUIET_LOOKS: u32 = 10;
/// Who is held for more than one part in so many of the time is held by its quota.
const HELD_PART: u64 = 5;
/// Who uses less than one part in so many of a core is in nobody's way while others are free.
const BIG_PART: u64 = 20;
/// Nor is who uses less than so many times what each of the others does, for a share as large.
const BIG_TIMES: u64 = 2;
/// Who would not take more than its share any more gives way for so many looks all the same: one that bursts, and is held back in between,
/// would have each burst at its full priority.
const LINGERING_LOOKS: u32 = 5;
/// Keeps quotients by shares apart.
const SHARE_UNIT: u64 = 1 << 10;
/// What a tenant uses is, for these two, an average over about so many looks, so that a burst turns nothing round.
const MEAN_LOOKS: u64 = 8;
/// Looks for which it is remembered that somebody was in the way, or held.
const YIELDING_LOOKS: u32 = 10;

/// What was seen of a tenant since the last look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// CPU time that it has used.
    pub(super) cpu_us: u64,
    /// That of its lanes, and of what is done for them: without the threads that look after its jobs.
    pub(super) work_us: u64,
    /// For how long its lanes were held because of its quota of CPU time, on the average.
    pub(super) held_us: u64,
    /// Weight of its share.
    pub(super) share: u64,
    /// One of its lanes has worked for most of the time.
    pub(super) is_busy: bool,
}

/// What is remembered of a tenant from look to look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    is_over: bool,
    /// CPU time that it has been short of its floor, and of its share.
    below_floor_us: u64,
    below_share_us: u64,
    /// It has its share back before it gives way again.
    is_owed: bool,
    /// CPU time of about [`MEAN_LOOKS`], of which the older ones count less, once something was seen.
    recent_us: Option<u64>,
    /// Looks for which it still gives way after it had what it wants.
    lingers: u32,
    /// Looks for which it still counts as being there, and as being held or big.
    there: u32,
    yielding: u32,
    gives_way: bool,
}

/// What was seen of the machine since the last look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cores {
    pub(super) elapsed_us: u64,
    pub(super) count: u64,
    /// Whether somebody had to wait for one, as far as can be told.
    pub(super) are_short: bool,
    /// CPU time that the process has used and no tenant was seen to use.
    pub(super) nobodys_us: u64,
}

/// Judges all tenants.
pub(super) fn judge(tenants: &mut [(Seen, Standing)], cores: Cores) {
    for (seen, standing) in tenants.iter_mut() {
        let is_there = seen.work_us > 0 || standing.is_over && seen.is_busy;
        remember(is_there, &mut standing.there, QUIET_LOOKS);
        standing.see(seen.cpu_us);
    }
    note_who_is_in_the_way(tenants, cores.elapsed_us);
    let hungry = hungry(tenants, cores);
    let (used_us, shares) = of_all(tenants, &hungry);
    let share_us = |seen: &Seen| used_us * seen.share / shares.max(1);
    let count = hungry.iter().filter(|is_hungry| **is_hungry).count();
    let there = tenants.iter().filter(|(_, standing)| standing.there > 0).count();
    // Somebody has what it wants, or at least no more than its share, because the others were told.
    let is_modest = |((seen, standing), is_hungry): (&(Seen, Standing), &bool)| {
        *is_hungry && !standing.is_over && seen.cpu_us * 100 <= share_us(seen) * GREEDY_PERCENT
    };
    let is_anybody_content = count < there;
    let is_anybody_modest = tenants.iter().zip(&hungry).any(is_modest);
    for ((seen, standing), is_hungry) in tenants.iter_mut().zip(hungry) {
        let stays = standing.is_over && is_anybody_modest;
        standing.is_over = is_hungry && (is_anybody_content || stays);
        // What is nobody's was somebody's, and may be why this one had so little.
        standing.count(seen.cpu_us, (used_us + cores.nobodys_us) * seen.share / shares.max(1));
        remember(standing.is_over, &mut standing.lingers, LINGERING_LOOKS);
        standing.gives_way = match cores.are_short {
            true => standing.lingers > 0 && !standing.is_owed,
            false => standing.yielding > 0,
        };
    }
}

/// Takes down who is to give way as long as cores are free.
fn note_who_is_in_the_way(tenants: &mut [(Seen, Standing)], elapsed_us: u64) {
    let there = tenants.iter().filter(|(_, standing)| standing.there > 0);
    let least = there.map(|(seen, standing)| standing.of_share(seen)).min().unwrap_or(0);
    for (seen, standing) in tenants.iter_mut() {
        let is_held = seen.held_us > elapsed_us / HELD_PART;
        let of_share = standing.of_share(seen);
        let is_big = standing.recent_us.unwrap_or(0) > elapsed_us * MEAN_LOOKS / BIG_PART
            && of_share > least * BIG_TIMES;
        match is_held || of_share > least {
            true => remember(is_held || is_big, &mut standing.yielding, YIELDING_LOOKS),
            false => standing.yielding = 0,
        }
    }
}

/// Counts for how many looks more something is remembered, which `is_so` now or not.
fn remember(is_so: bool, looks: &mut u32, most: u32) {
    *looks = if is_so { most } else { looks.saturating_sub(1) };
}

impl Standing {
    /// Whether its lanes are to give way to those of others.
    pub(super) fn gives_way(&self) -> bool {
        self.gives_way
    }

    /// Takes down what it has used since the last look.
    fn see(&mut self, cpu_us: u64) {
        let before_us = match self.recent_us {
            None if cpu_us == 0 => return,
            // Whoever is new is taken to go on as it began.
            None => cpu_us * (MEAN_LOOKS - 1),
            Some(recent_us) => recent_us,
        };
        let recent_us = before_us + cpu_us;
        self.recent_us = Some(recent_us - recent_us / MEAN_LOOKS);
    }

    /// What it uses from look to look. One burst of the threads that look after its jobs, for a checkpoint, is not what it goes on with:
    /// who is told uses little because of it, and would be taken for one who wants more.
    fn uses_us(&self, seen: &Seen) -> u64 {
        let mean_us = self.recent_us.unwrap_or(0) / (MEAN_LOOKS - 1);
        let staff_us = seen.cpu_us.saturating_sub(seen.work_us);
        if self.is_over { seen.cpu_us } else { seen.work_us + staff_us.min(mean_us) }
    }

    /// What it has used lately, for a share as large as any other's.
    fn of_share(&self, seen: &Seen) -> u64 {
        self.recent_us.unwrap_or(0) * SHARE_UNIT / seen.share.max(1)
    }

    /// Takes down what it has used of its share, if it was to give way.
    fn count(&mut self, cpu_us: u64, share_us: u64) {
        if !self.is_over {
            (self.below_floor_us, self.below_share_us, self.is_owed) = (0, 0, false);
            return;
        }
        let floor_us = share_us * FLOOR_PERCENT / 100;
        let below = |before_us: u64, due_us: u64| {
            (before_us + due_us).saturating_sub(cpu_us).min(share_us * SHORT_LOOKS_MAX)
        };
        self.below_floor_us = below(self.below_floor_us, floor_us);
        self.below_share_us = below(self.below_share_us, share_us);
        self.is_owed = match self.is_owed {
            true => self.below_share_us > 0,
            false => self.below_floor_us > floor_us * SHORT_LOOKS,
        };
    }
}

/// For each tenant whether it would take more than its share, where cores are short. Who uses clearly less than its share
/// has what it wants, unless it was told and is busy: it may use little because it was told. What that one leaves is shared by
/// the others, and so on; those who are left at last would take more if they could.
fn hungry(tenants: &[(Seen, Standing)], cores: Cores) -> Vec<bool> {
    let there: Vec<bool> = tenants.iter().map(|(_, standing)| standing.there > 0).collect();
    let (_, shares) = of_all(tenants, &there);
    let all_us = cores.elapsed_us * cores.count;
    let wants = |(seen, standing): &(Seen, Standing)| {
        let harmless_us = all_us * seen.share * HARMLESS_PERCENT / (100 * shares.max(1));
        cores.are_short
            && (standing.uses_us(seen) > harmless_us || standing.is_over && seen.is_busy)
    };
    let mut hungry: Vec<bool> = tenants.iter().map(wants).collect();
    loop {
        let theirs = tenants.iter().zip(&hungry).filter(|(_, is_hungry)| **is_hungry);
        let (used_us, shares) = theirs.fold((0, 0), |(used_us, shares), ((seen, standing), _)| {
            (used_us + standing.uses_us(seen), shares + seen.share)
        });
        let has_enough = |(seen, standing): &(Seen, Standing)| {
            let content = match standing.is_over {
                true => CONTENT_PERCENT - SLACK_PERCENT,
                false => CONTENT_PERCENT,
            };
            let uses_us = standing.uses_us(seen);
            let uses_little = uses_us * 100 * shares.max(1) < used_us * seen.share * content;
            uses_little && !(standing.is_over && seen.is_busy)
        };
        let before = hungry.clone();
        for (tenant, is_hungry) in tenants.iter().zip(&mut hungry) {
            *is_hungry = *is_hungry && !has_enough(tenant);
        }
        if hungry == before {
            return hungry;
        }
    }
}

/// What these of the tenants have used, and their shares.
fn of_all(tenants: &[(Seen, Standing)], these: &[bool]) -> (u64, u64) {
    let these = tenants.iter().zip(these).filter(|(_, is_one)| **is_one);
    these.fold((0, 0), |(used_us, shares), ((seen, _), _)| {
        (used_us + seen.cpu_us, shares + seen.share)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK_US: u64 = 200_000;
    const FREE: Cores = Cores { elapsed_us: LOOK_US, count: 2, are_short: false, nobodys_us: 0 };
    const SHORT: Cores = Cores { are_short: true, ..FREE };

    fn seen(cpu_us: u64, share: u64) -> Seen {
        Seen { cpu_us, work_us: cpu_us, held_us: 0, share, is_busy: true }
    }

    /// Who is over its share at a first look at these uses, in 2,000ths of all that there is, and shares.
    fn over(uses: &[(u64, u64)]) -> Vec<bool> {
        let mut tenants: Vec<_> = uses
            .iter()
            .map(|&(part, share)| (seen(part * LOOK_US / 1000, share), Standing::default()))
            .collect();
        judge(&mut tenants, SHORT);
        tenants.iter().map(|(_, standing)| standing.gives_way()).collect()
    }

    #[test]
    fn idle_cores_are_anybodys() {
        let told = Standing { is_over: true, gives_way: true, ..Standing::default() };
        let mut tenants = [(seen(9_000, 1), told), (seen(10, 1), told)];
        judge(&mut tenants, FREE);
        assert!(tenants.iter().all(|(_, standing)| !standing.gives_way()));
    }

    #[test]
    fn while_cores_are_free_who_uses_clearly_more_than_another_gives_way() {
        /// Who gives way in the end, after `looks` at these uses.
        fn told<const N: usize>(
            tenants: &mut [(Seen, Standing); N],
            uses: [u64; N],
            looks: u32,
        ) -> [bool; N] {
            for _ in 0..looks {
                tenants
                    .iter_mut()
                    .zip(uses)
                    .for_each(|(tenant, cpu_us)| tenant.0 = seen(cpu_us, 1));
                judge(tenants, FREE);
            }
            tenants.each_ref().map(|(_, standing)| standing.gives_way())
        }
        let mut tenants = [(seen(0, 1), Standing::default()); 4];
        let uses = [150_000, 50_000, 12_000, 5_000];
        assert_eq!(told(&mut tenants, uses, 1), [true, true, true, false]);
        // A burst of who uses little, and quiet of who uses much, turn nothing round.
        assert_eq!(told(&mut tenants, [0, 0, 12_000, 30_000], 2), [true, true, true, false]);
        // Now they all use the same.
        assert_eq!(told(&mut tenants, [60_000; 4], 40), [false; 4]);
        // Now the last one uses more, and the one that uses the least is told otherwise.
        assert_eq!(
            told(&mut tenants, [5_000, 60_000, 60_000, 150_000], 30),
            [false, true, true, true]
        );
        assert_eq!(
            told(&mut tenants, [60_000, 60_000, 60_000, 1_000], 30),
            [true, true, true, false]
        );
        assert_eq!(told(&mut [(seen(0, 1), Standing::default())], [150_000], 20), [false]);
    }

    #[test]
    fn while_cores_are_short_who_would_take_more_gives_way_to_who_has_enough() {
        assert_eq!(over(&[(1900, 1), (90, 1)]), [true, false]);
        assert_eq!(over(&[(1000, 1), (600, 1), (300, 1)]), [true, false, false]);
        let mut many = vec![(197, 1); 10];
        many.push((30, 1));
        let expected: Vec<bool> = (0..11).map(|tenant| tenant < 10).collect();
        assert_eq!(over(&many), expected);
    }

    #[test]
    fn whether_cores_are_short_or_not_the_same_one_gives_way_by_shares() {
        let mut tenants = [(236_000, 9), (100_000, 1)]
            .map(|(cpu_us, share)| (seen(cpu_us, share), Standing::default()));
        for are_short in [true, false, false, true, true, false] {
            judge(&mut tenants, Cores { are_short, ..FREE });
            assert!(!tenants[0].1.gives_way() && tenants[1].1.gives_way());
        }
    }

    #[test]
    fn who_is_left_with_little_because_of_use_that_is_nobodys_has_its_share_back() {
        // Somebody has enough, but most of what there is goes to work that is charged to nobody.
        let mut tenants = [(30_000, 1), (1_000, 1)]
            .map(|(cpu_us, share)| (seen(cpu_us, share), Standing::default()));
        tenants[1].0.is_busy = false;
        let cores = Cores { nobodys_us: 369_000, ..SHORT };
        let told: Vec<bool> = (0..40)
            .map(|_| {
                judge(&mut tenants, cores);
                tenants[0].1.gives_way()
            })
            .collect();
        assert!(told[0], "at first it is taken for the one that uses much");
        assert!(told[12..].iter().all(|gives_way| !gives_way), "{told:?}");
    }

    #[test]
    fn one_burst_of_who_looks_after_a_job_turns_nothing_round_while_cores_are_short() {
        let mut tenants = [38_000; 11].map(|cpu_us| (seen(cpu_us, 1), Standing::default()));
        for look in 0..30 {
            let cpu_us = if look % 10 == 9 { 90_000 } else { 8_000 };
            tenants[0].0 = Seen { work_us: 3_000, is_busy: false, ..seen(cpu_us, 1) };
            judge(&mut tenants, SHORT);
            let told: Vec<bool> = tenants.iter().map(|(_, told)| told.gives_way()).collect();
            assert!(!told[0] && told[1..].iter().all(|gives_way| *gives_way), "{look}: {told:?}");
        }
        // What it goes on with is another thing.
        for _ in 0..10 {
            tenants[0].0 = Seen { work_us: 3_000, ..seen(90_000, 1) };
            judge(&mut tenants, SHORT);
        }
        tenants[1].0 = Seen { is_busy: false, ..seen(1_000, 1) };
        judge(&mut tenants, SHORT);
        assert!(tenants[0].1.gives_way());
    }

    #[test]
    fn nobody_gives_way_to_one_that_only_waits() {
        for cores in [FREE, SHORT] {
            let mut tenants = [(150_000, true), (50, false)].map(|(cpu_us, is_busy)| {
                (Seen { is_busy, ..seen(cpu_us, 1) }, Standing::default())
            });
            for look in 0..300 {
                // Its threads look after it once in five looks.
                let cpu_us = if look % 5 == 0 { 50 } else { 0 };
                tenants[1].0 = Seen { cpu_us, work_us: 0, ..tenants[1].0 };
                judge(&mut tenants, cores);
                assert!(!tenants[0].1.gives_way(), "{look}: {cores:?}");
            }
        }
    }

    #[test]
    fn who_uses_much_gives_way_to_one_that_does_little_but_works() {
        for cores in [FREE, SHORT] {
            let mut tenants = [150_000, 50].map(|cpu_us| (seen(cpu_us, 1), Standing::default()));
            tenants[1].0.is_busy = false;
            (0..20).for_each(|_| judge(&mut tenants, cores));
            assert!(tenants[0].1.gives_way() && !tenants[1].1.gives_way(), "{cores:?}");
        }
    }

    #[test]
    fn nobody_gives_way_where_all_would_take_more() {
        assert_eq!(over(&[(1000, 1), (1000, 1)]), [false, false]);
        assert_eq!(over(&[(1050, 1), (950, 1)]), [false, false]);
        assert_eq!(over(&[(2000, 1)]), [false]);
    }

    #[test]
    fn shares_have_weights_and_who_does_nothing_has_none() {
        assert_eq!(over(&[(1500, 3), (500, 1)]), [false, false]);
        assert_eq!(over(&[(1000, 1), (1000, 3)]), [true, false]);
        assert_eq!(over(&[(2000, 1), (0, 9)]), [false, false]);
    }

    #[test]
    fn who_was_here_a_moment_ago_is_still_given_way_to() {
        let mut tenants = [380_000, 1_000].map(|cpu_us| (seen(cpu_us, 1), Standing::default()));
        judge(&mut tenants, SHORT);
        tenants[1].0 = Seen { is_busy: false, ..seen(0, 1) };
        let gave_way = |_| {
            judge(&mut tenants, SHORT);
            tenants[0].1.gives_way()
        };
        let looks: Vec<bool> = (0..17).map(gave_way).collect();
        assert!(looks[..9].iter().all(|gives_way| *gives_way) && !looks[16], "{looks:?}");
    }

    #[test]
    fn who_uses_next_to_nothing_gives_way_to_nobody_even_if_others_are_not_seen_to_use_anything() {
        let mut tenants = [380_000, 12_000].map(|cpu_us| (seen(cpu_us, 1), Standing::default()));
        judge(&mut tenants, SHORT);
        tenants[0].0 = Seen { is_busy: false, ..seen(0, 1) };
        judge(&mut tenants, SHORT);
        assert!(!tenants[1].1.gives_way());
        tenants[1].0 = seen(200_000, 1);
        judge(&mut tenants, SHORT);
        assert!(tenants[1].1.gives_way());
    }

    #[test]
    fn who_is_held_by_its_quota_gives_way_for_two_seconds_even_to_nobody() {
        let held = Seen { held_us: LOOK_US / 2, is_busy: false, ..seen(50, 1) };
        let mut tenants = [(held, Standing::default()), (seen(10, 1), Standing::default())];
        judge(&mut tenants, FREE);
        assert!(tenants[0].1.gives_way() && !tenants[1].1.gives_way());
        tenants[0].0.held_us = LOOK_US / 10;
        (0..9).for_each(|_| judge(&mut tenants, FREE));
        assert!(tenants[0].1.gives_way());
        judge(&mut tenants, FREE);
        assert!(!tenants[0].1.gives_way());
    }

    /// A tenant of a model machine.
    struct Load {
        lanes: u64,
        share: u64,
        /// What comes in for it at each look, in microseconds of CPU time; what it does not get it wants later.
        comes_us: u64,
        /// What comes in at the fifth look besides.
        burst_us: u64,
    }

    const HUNGRY: u64 = 1 << 40;

    fn load(share: u64, lanes: u64, comes_us: u64) -> Load {
        Load { lanes, share, comes_us, burst_us: 0 }
    }

    /// What came of a load: the part of the time in which it gave way, what it used of all there is, what it still wants, and
    /// how often it was told otherwise.
    #[derive(Debug)]
    struct Came {
        told: f64,
        used: f64,
        left_us: u64,
        changes: u32,
    }

    /// Lets loads share two cores for many looks as a kernel does that is fair to threads, and lets those of low priority have
    /// what is left.
    fn model(loads: &[Load]) -> Vec<Came> {
        const LOOKS: u32 = 600;
        const ALL_US: u64 = 2 * LOOK_US;
        let mut tenants: Vec<_> =
            loads.iter().map(|load| (seen(0, load.share), Standing::default())).collect();
        let none = || Came { told: 0.0, used: 0.0, left_us: 0, changes: 0 };
        let mut came: Vec<Came> = loads.iter().map(|_| none()).collect();
        for look in 0..LOOKS {
            for (came, load) in came.iter_mut().zip(loads) {
                came.left_us += load.comes_us + if look == 5 { load.burst_us } else { 0 };
            }
            let mut free_us = ALL_US;
            let mut got = vec![0; loads.len()];
            for is_told in [false, true] {
                let before = |free_us: u64| free_us;
                loop {
                    let then_us = before(free_us);
                    // In small turns, a thread each.
                    for (at, load) in loads.iter().enumerate() {
                        let most = came[at].left_us.min(load.lanes * LOOK_US);
                        if tenants[at].1.gives_way() == is_told && got[at] < most {
                            let turn = (load.lanes * 100).min(free_us).min(most - got[at]);
                            got[at] += turn;
                            free_us -= turn;
                        }
                    }
                    if then_us == free_us {
                        break;
                    }
                }
            }
            for (at, (seen_now, standing)) in tenants.iter_mut().enumerate() {
                let came = &mut came[at];
                came.left_us -= got[at];
                came.told += f64::from(u8::from(standing.gives_way())) / f64::from(LOOKS);
                came.used += got[at] as f64 / (ALL_US * u64::from(LOOKS)) as f64;
                let is_busy = came.left_us > 0 || got[at] > LOOK_US / 2;
                *seen_now = Seen { is_busy, ..seen(got[at], loads[at].share) };
            }
            let told: Vec<bool> = tenants.iter().map(|(_, it)| it.gives_way()).collect();
            judge(&mut tenants, Cores { are_short: free_us == 0, ..FREE });
            for ((came, (_, standing)), told) in came.iter_mut().zip(&tenants).zip(told) {
                came.changes += u32::from(standing.gives_way() != told);
            }
        }
        came
    }

    #[test]
    fn attackers_give_way_all_the_time_to_who_wants_little() {
        let mut loads: Vec<Load> = (0..10).map(|_| load(1, 1, HUNGRY)).collect();
        loads.push(load(1, 1, 12_000));
        let came = model(&loads);
        assert!(came[..10].iter().all(|it| it.told > 0.98 && it.changes == 1), "{came:?}");
        assert_eq!(came[10].told, 0.0);
    }

    #[test]
    fn nobody_starves_for_having_few_lanes() {
        for loads in [
            vec![load(1, 1, HUNGRY), load(1, 64, HUNGRY)],
            vec![load(1, 1, HUNGRY), load(1, 64, HUNGRY), load(1, 1, 10_000)],
            vec![load(9, 2, HUNGRY), load(1, 64, HUNGRY), load(1, 1, 10_000)],
            vec![load(1, 1, 60_000), load(1, 8, HUNGRY), load(1, 8, HUNGRY)],
        ] {
            let came = model(&loads);
            // Half of all is the share of each of two who want it.
            let due = loads[0].comes_us.min(LOOK_US) as f64 / (2 * LOOK_US) as f64;
            assert!(came[0].used > due * 0.8, "{came:?}");
            assert!(came.iter().all(|it| it.changes < 120), "{came:?}");
        }
    }

    #[test]
    fn who_has_had_a_burst_and_wants_less_than_its_share_catches_up() {
        let burst = Load { burst_us: 2_000_000, ..load(1, 1, 110_000) };
        for with_another in [true, false] {
            let mut loads = vec![Load { ..burst }, load(1, 64, HUNGRY)];
            loads.extend(with_another.then(|| load(1, 1, 5_000)));
            let came = model(&loads);
            assert!(came[0].left_us < 200_000, "{came:?}");
        }
    }
}
