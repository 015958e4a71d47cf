//! The generated bindings of the contract, and the only unsafe code of the crate.

wit_bindgen::generate!({
    path: "../wit",
    world: "plain",
    pub_export_macro: true,
});

/// The optional export `migrate`.
pub mod migrating {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "package tidemill:sdk; world migrating { export tidemill:operator/migrate@0.1.0; }",
        world: "tidemill:sdk/migrating",
        with: { "tidemill:operator/types@0.1.0": crate::bindings::tidemill::operator::types },
        pub_export_macro: true,
    });
}

/// The optional export `snapshot`.
pub mod stateful {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "package tidemill:sdk; world stateful { export tidemill:operator/snapshot@0.1.0; }",
        world: "tidemill:sdk/stateful",
        with: { "tidemill:operator/types@0.1.0": crate::bindings::tidemill::operator::types },
        pub_export_macro: true,
    });
}
