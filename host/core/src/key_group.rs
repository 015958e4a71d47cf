//! Key -> hash -> key group -> lane.
//!
//! A persisted contract: state files name key groups, so the hash, its seed and the bits taken from it
//! may never change for a job. Golden vectors below hold it in place.
//!
//! Bits of the hash and who may use them: 16..48 pick the key group here, so the upper ones of them are the same for
//! all keys of a table; the other 32 bits pick the bucket in the table's index, and order the entries of a snapshot file.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::ids::{KeyGroup, LaneId};

/// Hashes a key. Done once per key; the hash then travels with the batch.
#[inline]
pub fn hash_key(seed: u64, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, seed)
}

/// The key group of a hash among `groups` key groups (multiply-shift on bits 16..48).
#[inline]
pub fn key_group(hash: u64, groups: u32) -> KeyGroup {
    let bits = (hash >> 16) & 0xffff_ffff;
    KeyGroup(((bits * u64::from(groups)) >> 32) as u16)
}

/// Which lane owns each key group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    owner: Vec<u16>,
    lanes: usize,
}

impl Assignment {
    /// The assignment of a new job: rendezvous hashing, capped so that sizes differ by at most one.
    ///
    /// # Panics
    /// When `lanes` is 0 or above `groups`; graph validation refuses both.
    pub fn initial(groups: u32, lanes: usize) -> Self {
        assert!(lanes > 0 && lanes <= groups as usize, "1 to {groups} lanes");
        let mut load = vec![0usize; lanes];
        let mut owner = Vec::with_capacity(groups as usize);
        let (floor, mut spare) = (groups as usize / lanes, groups as usize % lanes);
        for group in 0..groups {
            let open = |lane: &usize| load[*lane] < floor || (load[*lane] == floor && spare > 0);
            let best = (0..lanes)
                .filter(open)
                .max_by_key(|lane| score(group, *lane))
                .expect("the caps add up to the number of groups");
            if load[best] == floor {
                spare -= 1;
            }
            load[best] += 1;
            owner.push(best as u16);
        }
        Self { owner, lanes }
    }

    /// An assignment as it was recorded; `None` when it names a lane that there is not.
    pub fn recorded(owner: Vec<u16>, lanes: usize) -> Option<Self> {
        let fits = owner.iter().all(|lane| (*lane as usize) < lanes);
        (fits && lanes > 0 && lanes <= owner.len()).then_some(Self { owner, lanes })
    }

    /// For each key group the lane that owns it.
    pub fn owners(&self) -> &[u16] {
        &self.owner
    }

    /// The assignment after a change to `lanes` lanes: takes groups only from lanes above their new
    /// share (all groups of lanes that are gone), lowest score first.
    ///
    /// # Panics
    /// As [`Assignment::initial`].
    #[must_use]
    pub fn rescaled(&self, lanes: usize) -> Self {
        let groups = self.owner.len();
        assert!(lanes > 0 && lanes <= groups, "1 to {groups} lanes");
        let floor = groups / lanes;
        let mut held: Vec<Vec<u32>> = vec![Vec::new(); lanes.max(self.lanes)];
        for (group, &lane) in self.owner.iter().enumerate() {
            held[lane as usize].push(group as u32);
        }
        // The lanes that keep one more than the floor: those that hold most today, so least moves.
        let mut by_size: Vec<usize> = (0..lanes).collect();
        by_size.sort_by_key(|lane| (std::cmp::Reverse(held[*lane].len()), *lane));
        let mut share = vec![0; held.len()];
        for (rank, &lane) in by_size.iter().enumerate() {
            share[lane] = floor + usize::from(rank < groups % lanes);
        }
        let mut homeless = Vec::new();
        for (lane, groups) in held.iter_mut().enumerate() {
            groups.sort_by_key(|group| std::cmp::Reverse((score(*group, lane), *group)));
            homeless.extend(groups.drain(share[lane].min(groups.len())..));
        }
        homeless.sort_unstable();
        for group in homeless {
            let best = (0..lanes)
                .filter(|lane| held[*lane].len() < share[*lane])
                .max_by_key(|lane| score(group, *lane))
                .expect("the shares add up to the number of groups");
            held[best].push(group);
        }
        let mut owner = vec![0; groups];
        for (lane, groups) in held.iter().enumerate() {
            groups.iter().for_each(|group| owner[*group as usize] = lane as u16);
        }
        Self { owner, lanes }
    }

    /// The lane that owns `group`.
    #[inline]
    pub fn owner(&self, group: KeyGroup) -> LaneId {
        LaneId(self.owner[group.0 as usize] as usize)
    }

    /// Number of key groups.
    pub fn groups(&self) -> u32 {
        self.owner.len() as u32
    }

    /// Number of lanes.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// The key groups that `lane` owns, ascending.
    pub fn owned_by(&self, lane: LaneId) -> impl Iterator<Item = KeyGroup> {
        self.owner
            .iter()
            .enumerate()
            .filter(move |(_, owner)| **owner as usize == lane.0)
            .map(|(group, _)| KeyGroup(group as u16))
    }
}

fn score(group: u32, lane: usize) -> u64 {
    let mut name = [0; 12];
    name[..4].copy_from_slice(&group.to_le_bytes());
    name[4..].copy_from_slice(&(lane as u64).to_le_bytes());
    xxh3_64_with_seed(&name, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(assignment: &Assignment) -> Vec<usize> {
        (0..assignment.lanes()).map(|lane| assignment.owned_by(LaneId(lane)).count()).collect()
    }

    #[test]
    fn hashes_and_key_groups_stay_as_published() {
        let golden: [(&[u8], u64, u16, u16); 4] = [
            (b"", 3244421341483603138, 64, 16386),
            (b"a", 16629034431890738719, 25, 6491),
            (b"tide", 224502257309335821, 75, 19406),
            (b"1000", 14565009768896604460, 39, 10139),
        ];
        for (key, hash, small, large) in golden {
            let found = hash_key(0, key);
            assert_eq!(
                (found, key_group(found, 128).0, key_group(found, 32_768).0),
                (hash, small, large),
                "{}",
                String::from_utf8_lossy(key)
            );
        }
        assert_ne!(hash_key(0, b"tide"), hash_key(1, b"tide"));
    }

    #[test]
    fn key_groups_are_evenly_hit() {
        let mut hits = vec![0u32; 128];
        for key in 0..128_000u32 {
            hits[key_group(hash_key(7, &key.to_le_bytes()), 128).0 as usize] += 1;
        }
        assert!(hits.iter().all(|hits| (800..1200).contains(hits)), "{hits:?}");
    }

    #[test]
    fn every_lane_owns_its_share_and_a_new_lane_moves_no_more_than_that() {
        for groups in [64u32, 128, 1000] {
            let mut before = Assignment::initial(groups, 1);
            for lanes in 1..=64usize {
                let fresh = Assignment::initial(groups, lanes);
                let after = before.rescaled(lanes);
                for assignment in [&fresh, &after] {
                    let sizes = sizes(assignment);
                    let (min, max) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
                    assert!(max - min <= 1, "{groups} groups on {lanes} lanes: {sizes:?}");
                }
                let moved = (0..groups as u16)
                    .filter(|group| before.owner(KeyGroup(*group)) != after.owner(KeyGroup(*group)))
                    .count();
                assert!(
                    moved <= (groups as usize).div_ceil(lanes),
                    "{groups}, {lanes}: {moved} moved"
                );
                before = after;
            }
        }
    }

    #[test]
    fn fewer_lanes_take_over_everything_evenly() {
        for from in [2usize, 7, 64] {
            for to in 1..from {
                let sizes = sizes(&Assignment::initial(128, from).rescaled(to));
                assert_eq!(sizes.iter().sum::<usize>(), 128);
                assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
            }
        }
    }
}
