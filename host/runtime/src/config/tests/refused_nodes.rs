//! Each way in which a source, an operator or a sink can be wrong.

use super::refused_with;

#[track_caller]
fn refused(text: &str, expected: &str) {
    refused_with(text, &[], expected);
}

/// The settings of an operator, from line 4 on.
#[track_caller]
fn operator(lines: &str, expected: &str) {
    refused(&format!("name = \"a\"\n[operators.op]\ncomponent = \"x.wasm\"\n{lines}\n"), expected);
}

/// The settings of a source, from line 3 on.
#[track_caller]
fn source(lines: &str, expected: &str) {
    refused(&format!("name = \"a\"\n[sources.in]\n{lines}\n"), expected);
}

/// The settings of a sink, from line 3 on.
#[track_caller]
fn sink(lines: &str, expected: &str) {
    refused(&format!("name = \"a\"\n[sinks.out]\nfrom = \"in\"\n{lines}\n"), expected);
}

#[test]
fn an_operator_without_component() {
    refused(
        "name = \"a\"\n[operators.count]\nfrom = \"in\"\n",
        "job.toml:2:12: operators.count: `component` is missing\nhelp: add `component = ...`",
    );
    refused(
        "name = \"a\"\n[operators.count]\ncomponent = \"\"\n",
        "job.toml:3:13: operators.count.component: expected a path, found an empty string",
    );
}

#[test]
fn an_unknown_setting_of_a_node() {
    operator(
        "form = \"in\"",
        "job.toml:4:1: operators.op: there is no setting `form` here\nhelp: did you mean `from`?",
    );
    source(
        "connector = \"file\"\npth = \"x\"",
        "job.toml:4:1: sources.in: there is no setting `pth` here\nhelp: did you mean `path`?",
    );
}

#[test]
fn a_setting_of_another_connector() {
    source(
        "connector = \"file\"\npath = \"x\"\nlisten = \"127.0.0.1:7000\"",
        "job.toml:5:1: sources.in: there is no setting `listen` here\n\
         help: it can hold `path`, `format`, `key`, `split-size`",
    );
    source(
        "connector = \"tcp\"\nlisten = \"127.0.0.1:7000\"\npath = \"x\"",
        "job.toml:5:1: sources.in: there is no setting `path` here\nhelp: it can hold `listen`",
    );
    sink(
        "connector = \"stdout\"\ncompression = \"gzip\"",
        "job.toml:5:1: sinks.out: there is no setting `compression` here\n\
         help: it can hold `from`, `format`, `key-type`, `value-type`, `fields`",
    );
}

#[test]
fn a_connector_that_is_missing_or_unknown() {
    source(
        "path = \"x\"",
        "job.toml:2:10: sources.in: `connector` is missing\n\
         help: add `connector = \"file\"`; there are `file`, `stdin`, `tcp`, `nexmark`",
    );
    source(
        "conector = \"file\"\npath = \"x\"",
        "job.toml:3:1: sources.in: there is no setting `conector` here\nhelp: did you mean \
        `connector`?",
    );
    source(
        "connector = \"fiel\"",
        "job.toml:3:13: sources.in.connector: \"fiel\" is not one of `file`, `stdin`, `tcp`, \
        `nexmark`\n\
         help: did you mean \"file\"?",
    );
    source(
        "connector = 3",
        "job.toml:3:13: sources.in.connector: expected a string, found the number 3\nhelp: put it \
        in quotes: \"3\"",
    );
    refused(
        "name = \"a\"\nsources.in = \"file\"",
        "job.toml:2:14: sources.in: expected a table, found \"file\"",
    );
    source(
        "connector = \"file\"",
        "job.toml:2:10: sources.in: `path` is missing\nhelp: add `path = ...`",
    );
}

#[test]
fn a_source_setting_that_makes_no_sense() {
    source(
        "connector = \"file\"\npath = \"x\"\nkey = \"id\"",
        "job.toml:5:7: sources.in.key: `key` has no effect with format = \"lines\"\n\
         help: say `format = \"ndjson\"` or \"csv\", or let an operator set the key",
    );
    source(
        "connector = \"file\"\npath = \"a[\"",
        "job.toml:4:8: sources.in.path: expected a path or a pattern, found \"a[\": invalid range \
        pattern",
    );
    source(
        "connector = \"file\"\npath = \"x\"\nsplit-size = 1",
        "job.toml:5:14: sources.in.split-size: 1B is outside 1KiB to 1TiB",
    );
    source(
        "connector = \"tcp\"\nlisten = \"localhost\"",
        "job.toml:4:10: sources.in.listen: expected an IP address and port such as \
        \"127.0.0.1:7000\", found \"localhost\"",
    );
    source(
        "connector = \"stdin\"\nformat = \"line\"",
        "job.toml:4:10: sources.in.format: \"line\" is not one of `lines`, `ndjson`, `csv`\nhelp: \
        did you mean \"lines\"?",
    );
}

#[test]
fn a_generator_setting_that_makes_no_sense() {
    source(
        "connector = \"nexmark\"\nkey = \"auction\"",
        "job.toml:4:7: sources.in.key: \"auction\" is not one of `date_time`, `extra`",
    );
    source(
        "connector = \"nexmark\"\nstream = \"lines\"\nkey = \"word\"",
        "job.toml:5:7: sources.in.key: `key` has no effect with stream = \"lines\"\nhelp: a line \
        has no fields: remove it",
    );
    source(
        "connector = \"nexmark\"\nstream = \"lines\"\nencoding = \"ndjson\"",
        "job.toml:5:12: sources.in.encoding: `encoding` has no effect with stream = \
        \"lines\"\nhelp: lines are text: remove it",
    );
    source(
        "connector = \"nexmark\"\nevents = 0",
        "job.toml:4:10: sources.in.events: 0 is outside 1 to 9223372036854775807",
    );
    source(
        "connector = \"nexmark\"\nevents-per-second = 0",
        "job.toml:4:21: sources.in.events-per-second: 0 is outside 1 to 9223372036854775807",
    );
    source(
        "connector = \"nexmark\"\npartitions = 5000",
        "job.toml:4:14: sources.in.partitions: 5000 is outside 1 to 4096",
    );
}

#[test]
fn a_sink_setting_that_makes_no_sense() {
    sink(
        "connector = \"stdout\"\nvalue-type = \"json\"",
        "job.toml:5:14: sinks.out.value-type: `value-type` has no effect with format = \"raw\"\n\
         help: say `format = \"text\"` or \"ndjson\"",
    );
    sink(
        "connector = \"discard\"\nfields = [0]",
        "job.toml:5:10: sinks.out.fields: `fields` has no effect with no `value-type`\n\
         help: add `value-type`, or remove it to sum bytes as they are",
    );
    sink(
        "connector = \"stdout\"\nformat = \"text\"\nfields = [0]",
        "job.toml:6:10: sinks.out.fields: `fields` has no effect with a `value-type` of one field\n\
         help: such a value is a single field: remove it, or set another `value-type`",
    );
    sink(
        "connector = \"stdout\"\nformat = \"text\"\nvalue-type = \"u64\"\nfields = [0, \"n\"]",
        "job.toml:7:14: sinks.out.fields: expected the position of a 64-bit word, from 0, found \
        \"n\"",
    );
    sink(
        "connector = \"stdout\"\nformat = \"text\"\nvalue-type = \"json\"\nfields = [\"n\", 0]",
        "job.toml:7:16: sinks.out.fields: expected a name, as the fields before it, found \
        position 0",
    );
    sink(
        "connector = \"stdout\"\nformat = \"text\"\nvalue-type = \"json\"\nfields = [-1]",
        "job.toml:7:11: sinks.out.fields: expected a field's position from 0, or its name, found \
        the number -1",
    );
    sink(
        "connector = \"file\"",
        "job.toml:2:8: sinks.out: `path` is missing\nhelp: add `path = ...`",
    );
}

#[test]
fn an_edge_that_cannot_be_read() {
    operator(
        "from = 3",
        "job.toml:4:8: operators.op.from: expected a string, a table with `from`, or a list of \
        these, found the number 3\nhelp: put it in quotes: \"3\"",
    );
    operator(
        "from = { edge = \"keyed\" }",
        "job.toml:4:1: operators.op.from: `from` is missing\nhelp: add `from = ...`",
    );
    operator(
        "from = { from = \"in\", edge = \"key\" }",
        "job.toml:4:30: operators.op.from.edge: \"key\" is not one of `forward`, `keyed`, \
        `rebalance`, `broadcast`",
    );
    operator(
        "from = [\"a\", { from = \"in\", kind = \"keyed\" }]",
        "job.toml:4:29: operators.op.from: there is no setting `kind` here\nhelp: it can hold \
        `from`, `edge`",
    );
    operator(
        "from = [[\"a\"]]",
        "job.toml:4:9: operators.op.from: expected a string or a table with `from`, found a list",
    );
    operator(
        "from = \"in\"\ninputs.a = \"in\"",
        "job.toml:5:1: operators.op.inputs: `from` and `inputs` say the same thing twice\n\
         help: keep `from` for a single input, `inputs.NAME` for several",
    );
}

#[test]
fn a_limit_above_the_hosts() {
    operator(
        "limits = { memory = \"1GiB\" }",
        "job.toml:4:21: operators.op.limits.memory: 1GiB is above the host's limit of 128MiB\n\
         help: the host's limits can only be lowered: give less, or remove the line",
    );
    operator(
        "[operators.op.limits]\nhook-cpu = \"2s\"",
        "job.toml:5:12: operators.op.limits.hook-cpu: 2s is above the host's limit of 1s\n\
         help: the host's limits can only be lowered: give less, or remove the line",
    );
    operator(
        "limits.emit-records = 0",
        "job.toml:4:23: operators.op.limits.emit-records: 0 is outside 1 to 1000000",
    );
    operator(
        "limits.memroy = \"1MiB\"",
        "job.toml:4:8: operators.op.limits: there is no setting `memroy` here\nhelp: did you mean \
        `memory`?",
    );
    operator("limits = [1]", "job.toml:4:10: operators.op.limits: expected a table, found a list");
}

#[test]
fn a_configuration_value_that_is_no_scalar() {
    operator(
        "config = { a = [1] }",
        "job.toml:4:16: operators.op.config.a: expected a string, a number or a boolean, found a \
        list",
    );
}

#[test]
fn a_grant_that_cannot_be() {
    operator(
        "grants.directories = [{ path = \"models\", as = \"models\" }]",
        "job.toml:4:47: operators.op.grants.directories.as: expected an absolute path, such as \
         \"/models\", found \"models\"",
    );
    for bad in ["/a/../b", "/a/", "//", "/a//b", "/.", ""] {
        operator(
            &format!("grants.directories = [{{ path = \"models\", as = {bad:?} }}]"),
            &format!(
                "job.toml:4:47: operators.op.grants.directories.as: expected an absolute path, such as \
                 \"/models\", found {bad:?}"
            ),
        );
    }
    operator(
        "grants.directories = [{ path = \"..\" }]",
        "job.toml:4:32: operators.op.grants.directories.path: `as` is missing\nhelp: add `as = ...`",
    );
    operator(
        "grants.directories = [{ path = \"a/m\" }, { path = \"b/m\" }]",
        "job.toml:4:50: operators.op.grants.directories: `/m` is set twice\nhelp: keep one of them",
    );
    operator(
        "grants.directories = [{ path = \"a\", write = true }]",
        "job.toml:4:37: operators.op.grants.directories: there is no setting `write` here\n\
         help: it can hold `path`, `as`",
    );
    operator(
        "grants.environment = [\"A=B\"]",
        "job.toml:4:23: operators.op.grants.environment: expected the name of a variable of the \
         environment, found \"A=B\"",
    );
    operator(
        "config = { REGION = 1 }\ngrants.environment = [\"REGION\"]",
        "job.toml:5:23: operators.op.grants.environment: `REGION` is set twice\n\
         help: keep one of them",
    );
    operator(
        &format!("grants.environment = [{}]", "\"A\", ".repeat(65)),
        "job.toml:4:22: operators.op.grants.environment: a list of 65 is outside 0 to 64",
    );
}
