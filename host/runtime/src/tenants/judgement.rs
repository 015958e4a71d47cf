//! Who is to give way to whom, from what tenants have used.
//!
//! Pure: takes what was seen since the last look, and remembers what it must of the looks before. Two kinds of tenants
//! give way: who would take more than its share while cores are short, and who is held by its quota of CPU time all
//! the time, for its lanes all go on at the same moment. Invariants: while cores are short, nobody gives way unless somebody else
//! is there who has what it wants; and nobody goes without half of its share for long.

/// Who uses less than this part of its share has what it wants, in hundredths.
const CONTENT_PERCENT: u64 = 80;
/// Who has been told is told otherwise only with so much less, so that nobody goes to and fro.
const SLACK_PERCENT: u64 = 20;
/// What everybody has who would take more, be it told or not: this part of its share of what all of those use, in
/// hundredths. What is left to those who give way goes by their threads and not by their shares.
const FLOOR_PERCENT: u64 = 50;
/// Who is owed so much of it does not give way until it has had it.
const OWED_US: u64 = 400_000;
/// More is not remembered.
const OWED_US_MAX: u64 = 2_000_000;
/// A tenant is there until it has used nothing for so many looks.
const QUIET_LOOKS: u32 = 10;
/// Who is held for more than one part in so many of the time is held by its quota.
const HELD_PART: u64 = 5;
/// Looks for which it is remembered.
const HELD_LOOKS: u32 = 10;

/// What was seen of a tenant since the last look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// CPU time that it has used.
    pub(super) cpu_us: u64,
    /// For how long its lanes were held because of its quota of CPU time, all together.
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
    /// CPU time that it is short of its floor.
    owed_us: u64,
    /// It has it back before it gives way again.
    is_owed: bool,
    /// Looks for which it still counts as being there, and as being held.
    there: u32,
    held: u32,
}

impl Standing {
    /// Whether its lanes are to give way to those of others.
    pub(super) fn gives_way(&self) -> bool {
        self.is_over && !self.is_owed || self.held > 0
    }
}

/// Judges all tenants after `elapsed_us`.
pub(super) fn judge(tenants: &mut [(Seen, Standing)], elapsed_us: u64, are_short: bool) {
    for (seen, standing) in tenants.iter_mut() {
        let is_held = seen.held_us > elapsed_us / HELD_PART;
        standing.held = if is_held { HELD_LOOKS } else { standing.held.saturating_sub(1) };
        let is_there = seen.cpu_us > 0 || standing.is_over && seen.is_busy;
        standing.there = if is_there { QUIET_LOOKS } else { standing.there.saturating_sub(1) };
    }
    let hungry = hungry(tenants, are_short);
    let count = hungry.iter().filter(|is_hungry| **is_hungry).count();
    let there = tenants.iter().filter(|(_, standing)| standing.there > 0).count();
    let has_others = count < there;
    let (used_us, shares) = of_all(tenants, &hungry);
    for ((seen, standing), is_hungry) in tenants.iter_mut().zip(hungry) {
        standing.is_over = is_hungry && has_others;
        if !standing.is_over {
            (standing.owed_us, standing.is_owed) = (0, false);
            continue;
        }
        let floor_us = used_us * seen.share * FLOOR_PERCENT / (100 * shares.max(1));
        let owed_us = (standing.owed_us + floor_us).saturating_sub(seen.cpu_us);
        standing.owed_us = owed_us.min(OWED_US_MAX);
        standing.is_owed = owed_us > if standing.is_owed { 0 } else { OWED_US };
    }
}

/// For each tenant whether it would take more than its share, where cores `are_short`. Who uses clearly less than its share
/// has what it wants, unless it was told and is busy: it may use little because it was told. What that one leaves is shared by
/// the others, and so on; those who are left at last would take more if they could.
fn hungry(tenants: &[(Seen, Standing)], are_short: bool) -> Vec<bool> {
    let wants = |(seen, standing): &(Seen, Standing)| {
        are_short && (seen.cpu_us > 0 || standing.is_over && seen.is_busy)
    };
    let mut hungry: Vec<bool> = tenants.iter().map(wants).collect();
    loop {
        let (used_us, shares) = of_all(tenants, &hungry);
        let has_enough = |(seen, standing): &(Seen, Standing)| {
            let content = match standing.is_over {
                true => CONTENT_PERCENT - SLACK_PERCENT,
                false => CONTENT_PERCENT,
            };
            let uses_little = seen.cpu_us * 100 * shares.max(1) < used_us * seen.share * content;
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

    fn seen(cpu_us: u64, share: u64) -> Seen {
        Seen { cpu_us, held_us: 0, share, is_busy: true }
    }

    /// Who is over its share at a first look at these uses and shares.
    fn over(uses: &[(u64, u64)]) -> Vec<bool> {
        let mut tenants: Vec<_> = uses
            .iter()
            .map(|&(cpu_us, share)| (seen(cpu_us, share), Standing::default()))
            .collect();
        judge(&mut tenants, LOOK_US, true);
        tenants.iter().map(|(_, standing)| standing.gives_way()).collect()
    }

    #[test]
    fn idle_cores_are_anybodys() {
        let told = Standing { is_over: true, ..Standing::default() };
        let mut tenants = [(seen(1500, 1), told), (seen(10, 1), told)];
        judge(&mut tenants, LOOK_US, false);
        assert!(tenants.iter().all(|(_, standing)| !standing.gives_way()));
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
        let mut tenants =
            [(1900, 1), (5, 1)].map(|(cpu_us, share)| (seen(cpu_us, share), Standing::default()));
        judge(&mut tenants, LOOK_US, true);
        tenants[1].0 = Seen { is_busy: false, ..seen(0, 1) };
        let gave_way = |_| {
            judge(&mut tenants, LOOK_US, true);
            tenants[0].1.gives_way()
        };
        let looks: Vec<bool> = (0..12).map(gave_way).collect();
        assert!(looks[..9].iter().all(|gives_way| *gives_way) && !looks[11], "{looks:?}");
    }

    #[test]
    fn who_is_held_by_its_quota_gives_way_for_two_seconds_even_to_nobody() {
        let held = Seen { held_us: LOOK_US / 2, is_busy: false, ..seen(50, 1) };
        let mut tenants = [(held, Standing::default()), (seen(10, 1), Standing::default())];
        judge(&mut tenants, LOOK_US, false);
        assert!(tenants[0].1.gives_way() && !tenants[1].1.gives_way());
        tenants[0].0.held_us = LOOK_US / 10;
        (0..9).for_each(|_| judge(&mut tenants, LOOK_US, false));
        assert!(tenants[0].1.gives_way());
        judge(&mut tenants, LOOK_US, false);
        assert!(!tenants[0].1.gives_way());
    }

    /// A tenant of a model machine.
    struct Load {
        lanes: u64,
        share: u64,
        /// What it would use of a look, in microseconds; more than it can get for who takes all.
        wants_us: u64,
    }

    const HUNGRY: u64 = u64::MAX;

    /// Lets loads share `cores` for many looks as a kernel does that is fair to threads, and lets those of low priority have what
    /// is left. Answers for each the part of the time in which it gave way, and what it used of all there is.
    fn model(loads: &[Load], cores: u64) -> Vec<(f64, f64)> {
        const LOOKS: u32 = 400;
        let mut tenants: Vec<_> =
            loads.iter().map(|load| (seen(0, load.share), Standing::default())).collect();
        let mut sums = vec![(0.0, 0.0); loads.len()];
        for _ in 0..LOOKS {
            let mut left_us = cores * LOOK_US;
            for is_told in [false, true] {
                let mut got = vec![0; loads.len()];
                // In small turns, a thread each.
                loop {
                    let before = left_us;
                    for (at, load) in loads.iter().enumerate() {
                        let most = load.wants_us.min(load.lanes * LOOK_US);
                        if tenants[at].1.gives_way() == is_told && got[at] < most {
                            let turn = (load.lanes * 100).min(left_us).min(most - got[at]);
                            got[at] += turn;
                            left_us -= turn;
                        }
                    }
                    if before == left_us {
                        break;
                    }
                }
                for (at, load) in loads.iter().enumerate() {
                    if tenants[at].1.gives_way() == is_told {
                        let is_busy = got[at] < load.wants_us.min(load.lanes * LOOK_US)
                            || load.wants_us == HUNGRY;
                        tenants[at].0 = Seen { is_busy, ..seen(got[at], load.share) };
                    }
                }
            }
            for (at, (seen, standing)) in tenants.iter().enumerate() {
                sums[at].0 += f64::from(u8::from(standing.gives_way())) / f64::from(LOOKS);
                sums[at].1 += seen.cpu_us as f64 / (cores * LOOK_US * u64::from(LOOKS)) as f64;
            }
            judge(&mut tenants, LOOK_US, left_us == 0);
        }
        sums
    }

    #[test]
    fn attackers_give_way_all_the_time_to_who_wants_little() {
        let mut loads: Vec<Load> =
            (0..10).map(|_| Load { lanes: 1, share: 1, wants_us: HUNGRY }).collect();
        loads.push(Load { lanes: 1, share: 1, wants_us: 12_000 });
        let came = model(&loads, 2);
        assert!(came[..10].iter().all(|(told, _)| *told > 0.98), "{came:?}");
        assert_eq!(came[10].0, 0.0);
    }

    #[test]
    fn nobody_starves_for_having_few_lanes() {
        let one = |share, lanes, wants_us| Load { lanes, share, wants_us };
        // Half of all is the share of each of two, and of three if the third wants next to nothing.
        for loads in [
            vec![one(1, 1, HUNGRY), one(1, 64, HUNGRY)],
            vec![one(1, 1, HUNGRY), one(1, 64, HUNGRY), one(1, 1, 10_000)],
            vec![one(9, 2, HUNGRY), one(1, 64, HUNGRY), one(1, 1, 10_000)],
            vec![one(1, 1, 60_000), one(1, 8, HUNGRY), one(1, 8, HUNGRY)],
        ] {
            let came = model(&loads, 2);
            let wanted = loads[0].wants_us.min(LOOK_US) as f64 / (2 * LOOK_US) as f64;
            assert!(came[0].1 > wanted / 2.0, "{came:?}");
        }
    }
}
