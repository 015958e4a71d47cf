//! A description of the contract, laid out in the memory of a guest.
//!
//! Knows the canonical ABI of the record `description` and nothing else.

/// What a hostile operator says that it is.
pub struct Description {
    /// Its name.
    pub name: String,
    /// Whether its input is keyed.
    pub keyed: bool,
    /// Its states: name, kind (0 value, 1 list, 2 map), and the width of all its values, if they have one.
    pub states: Vec<(String, u8, Option<u32>)>,
    /// How many counters it has.
    pub metrics: usize,
}

impl Default for Description {
    fn default() -> Self {
        Self { name: "hostile".to_owned(), keyed: false, states: Vec::new(), metrics: 0 }
    }
}

impl Description {
    /// Adds a state; keyed state needs a keyed input.
    pub fn state(&mut self, name: &str, kind: u8) {
        self.keyed = true;
        self.states.push((name.to_owned(), kind, None));
    }

    /// Adds a value state whose values all have this width.
    pub fn wide_state(&mut self, name: &str, width: u32) {
        self.keyed = true;
        self.states.push((name.to_owned(), 0, Some(width)));
    }

    /// Its bytes as they lie at address `at`: the record first, then what it points to.
    pub fn lay_out(&self, at: u32) -> Vec<u8> {
        let mut memory = Memory { at, bytes: vec![0; 48] };
        let name = memory.text(&self.name);
        let version = memory.text("1");
        let (input, output, unit) = (memory.text("in"), memory.text("out"), memory.text("1"));
        let input = [input, words(&[u32::from(self.keyed), 0, 0])].concat();
        let inputs = memory.list(&[input]);
        let outputs = memory.list(&[[output, words(&[0, 0])].concat()]);
        let state = |(name, kind, width): &(String, u8, Option<u32>)| {
            let name = memory.text(name);
            let (has_width, width) = (u32::from(width.is_some()), width.unwrap_or(0));
            // Kind, width, schema version 1, no time to live.
            [name, words(&[u32::from(*kind), has_width, width, 1, 0, 0, 0, 0, 0, 0])].concat()
        };
        let states: Vec<Vec<u8>> = self.states.iter().map(state).collect();
        let states = memory.list(&states);
        let metric = |number: usize| {
            let name = memory.text(&format!("m{number}"));
            [name, words(&[0]), unit.clone(), unit.clone()].concat()
        };
        let metrics: Vec<Vec<u8>> = (0..self.metrics).map(metric).collect();
        let metrics = memory.list(&metrics);
        let record = [name, version, inputs, outputs, states, metrics].concat();
        memory.bytes[..48].copy_from_slice(&record);
        memory.bytes
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

struct Memory {
    at: u32,
    bytes: Vec<u8>,
}

impl Memory {
    /// Puts bytes at the end, aligned for anything; answers where they lie.
    fn put(&mut self, bytes: &[u8]) -> u32 {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let at = self.at + u32::try_from(self.bytes.len()).expect("descriptions are small");
        self.bytes.extend_from_slice(bytes);
        at
    }

    fn text(&mut self, text: &str) -> Vec<u8> {
        let at = self.put(text.as_bytes());
        words(&[at, u32::try_from(text.len()).expect("texts are small")])
    }

    fn list(&mut self, items: &[Vec<u8>]) -> Vec<u8> {
        let at = self.put(&items.concat());
        words(&[at, u32::try_from(items.len()).expect("lists are small")])
    }
}
