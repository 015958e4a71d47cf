//! The generated bindings of the contract, and the only unsafe code of the crate.

wit_bindgen::generate!({
    path: "../wit",
    world: "plain",
    pub_export_macro: true,
});
