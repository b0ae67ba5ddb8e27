//! The table (`table.txt`): each product is found from each of its own names and from no other's, and each name that
//! tells something is needed.

use super::*;

const TABLE: &str = include_str!("table.txt");

/// One line of the table.
struct Row {
    number: usize,
    os: Os,
    things: Vec<String>,
    expected: Vec<String>,
}

fn rows() -> Vec<Row> {
    let lines = TABLE.lines().enumerate().map(|(n, line)| (n + 1, line.trim()));
    let lines =
        lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#') && !line.starts_with("=="));
    lines.map(|(number, line)| row(number, line)).collect()
}

fn row(number: usize, line: &str) -> Row {
    let columns: Vec<&str> = line.split(" | ").collect();
    let &[os, things, expected] = &columns[..] else { panic!("table line {number} has three columns") };
    let os = Os::from_name(os).unwrap_or_else(|| panic!("table line {number} begins with a system"));
    let expected = expected.split(", ").filter(|found| *found != "-").map(str::to_owned).collect();
    Row { number, os, things: things.split(" ; ").flat_map(|thing| things_of(thing, os)).collect(), expected }
}

/// `ANSWER` is what an activated agent answers; `GREEN` adds that it runs, in a way that names no product.
fn things_of(thing: &str, os: Os) -> Vec<String> {
    let answer = format!("answer dsa_query-GetAgentStatus={CLOUD}");
    match thing {
        "ANSWER" => vec![answer],
        "GREEN" => {
            let running = match os {
                Os::Linux => "process /opt/ds_agent/ds_agent",
                Os::Windows => "unreadable Services",
                Os::Macos => "unreadable Launchd",
            };
            vec![answer, running.to_owned()]
        }
        thing => vec![thing.replace("\\n", "\n")],
    }
}

/// What is found, and `?id` for what only an unverified signal speaks for.
fn told(catalogue: &Catalogue, seen: &Observations) -> Vec<String> {
    let explained = catalogue.explain(seen, now()).into_iter();
    let unverified = explained
        .filter(|explanation| explanation.findings.is_empty())
        .filter(|explanation| explanation.conclusion.starts_with("only a signal that nobody has verified"))
        .map(|explanation| format!("?{}", explanation.product));
    let mut told: Vec<String> = unverified.chain(found(catalogue, seen)).collect();
    told.sort();
    told
}

/// Why the first of these rows that does not hold does not.
fn broken<'a>(catalogue: &Catalogue, rows: impl IntoIterator<Item = &'a Row>) -> Option<String> {
    rows.into_iter().find_map(|row| {
        let things: Vec<&str> = row.things.iter().map(String::as_str).collect();
        let told = told(catalogue, &machine(row.os, &things));
        (told != row.expected).then(|| format!("table line {}: {told:?}, not {:?}", row.number, row.expected))
    })
}

#[test]
fn each_machine_of_the_table_is_told_as_it_says() {
    let rows = rows();
    assert!(rows.len() > 200, "{} rows", rows.len());
    assert_eq!(broken(Catalogue::embedded(), &rows), None);
}

/// Fails unless a row about `id` misses what was taken away.
fn missed(catalogue: &Catalogue, rows: &[Row], id: &str, what: &str) {
    let about = |row: &&Row| row.expected.iter().any(|found| found.contains(id)) || row.expected.is_empty();
    let missed = broken(catalogue, rows.iter().filter(about)).is_some();
    assert!(missed, "nothing misses {what} of {id}");
}

/// Takes each name away, and then each signal; says how many of either there were.
fn drop_each(
    rows: &[Row],
    id: &str,
    count: usize,
    signals: impl Fn(&mut Catalogue) -> &mut Vec<Signal>,
    is_meant: impl Fn(&Signal) -> bool,
) -> (usize, usize) {
    let (mut names, mut dropped) = (0, 0);
    for n in 0..count {
        let mut catalogue = Catalogue::embedded().clone();
        let signal = signals(&mut catalogue).remove(n);
        if !is_meant(&signal) {
            continue;
        }
        missed(&catalogue, rows, id, &signal.describe());
        dropped += 1;
        for name in 0..signal.matches.len() {
            let mut less = signal.clone();
            let what = less.matches.remove(name);
            let mut catalogue = Catalogue::embedded().clone();
            signals(&mut catalogue)[n] = less;
            missed(&catalogue, rows, id, &what);
            names += 1;
        }
    }
    (dropped, names)
}

#[test]
fn each_name_that_tells_a_product_is_needed() {
    let (rows, embedded) = (rows(), Catalogue::embedded());
    let (mut signals, mut names, mut excludes) = (0, 0, 0);
    for (n, product) in embedded.products.iter().enumerate() {
        let id = product.id.as_str();
        let identify = |signal: &Signal| signal.role == Role::Identify;
        let told = drop_each(&rows, id, product.signals.len(), |c| &mut c.products[n].signals, identify);
        (signals, names) = (signals + told.0, names + told.1);
        let exclude = |signal: &Signal| signal.role == Role::Exclude;
        excludes += drop_each(&rows, "", product.signals.len(), |c| &mut c.products[n].signals, exclude).1;
        if product.by_version.is_some() {
            let mut catalogue = embedded.clone();
            catalogue.products[n].by_version = None;
            missed(&catalogue, &rows, id, "the version range");
        }
        for variant in 0..product.variants.len() {
            let mut catalogue = embedded.clone();
            let variant = catalogue.products[n].variants.remove(variant);
            missed(&catalogue, &rows, variant.id.as_str(), "the variant");
        }
    }
    assert_eq!(
        (signals, names, excludes),
        (78, 121, 6),
        "identify rules, their names, and names that exclude"
    );
}

#[test]
fn each_name_that_tells_a_family_is_needed() {
    let (rows, embedded) = (rows(), Catalogue::embedded());
    let mut names = 0;
    for (n, family) in embedded.families.iter().enumerate() {
        let id = family.id.as_str();
        let verified = |signal: &Signal| !signal.recalled;
        names += drop_each(&rows, id, family.signals.len(), |c| &mut c.families[n].signals, verified).1;
        if family.by_version.is_some() {
            let mut catalogue = embedded.clone();
            catalogue.families[n].by_version = None;
            missed(&catalogue, &rows, id, "the version range");
        }
    }
    assert_eq!(names, 28);
}

/// A rule that is a list, less its `n`th part; nothing when it has none.
fn less(rule: &Rule, n: usize) -> Option<Rule> {
    let Test::All(parts) = &rule.test else { return None };
    let mut parts = parts.clone();
    (n < parts.len()).then(|| parts.remove(n))?;
    Some(Rule { test: Test::All(parts), otherwise: rule.otherwise.clone() })
}

#[test]
fn each_thing_that_makes_a_product_active_is_needed() {
    let (rows, embedded) = (rows(), Catalogue::embedded());
    let (mut rules, mut parts) = (0, 0);
    for (n, product) in embedded.products.iter().enumerate().filter(|(_, product)| product.is_billable()) {
        for (os, rule) in &product.active {
            let place = format!("active.{}", os.as_str());
            let mut catalogue = embedded.clone();
            catalogue.products[n].active.remove(os);
            missed(&catalogue, &rows, product.id.as_str(), &place);
            rules += 1;
            for (part, rule) in (0..).map_while(|part| Some((part, less(rule, part)?))) {
                let mut catalogue = embedded.clone();
                catalogue.products[n].active.insert(*os, rule);
                missed(&catalogue, &rows, product.id.as_str(), &format!("{place} part {part}"));
                parts += 1;
            }
        }
    }
    assert_eq!((rules, parts), (21, 28), "rules, and parts of the ones that are lists");
}

#[test]
fn what_only_memory_tells_is_never_active() {
    let file = "schema = \"seatbeat-catalogue/1\"\nversion = 1\n[[product]]\nid = \"p\"\nname = \"P\"\n\
        count = \"device\"\nsku = \"P\"\nsignals = [\n\
        { os = \"linux\", kind = \"deb\", match = \"p\", role = \"identify\", source = \"recalled\" },\n\
        { os = \"linux\", kind = \"group\", match = \"p\", role = \"support\", source = \"S1\" },\n]\n\
        active.linux = { unit_active = \"p.service\" }\n";
    let unverified = Catalogue::parse(file).unwrap();
    let seen = machine(Os::Linux, &["deb p", "group p", "unit p.service=active"]);
    assert_eq!(found(&unverified, &seen), ["p inactive"]);
    assert!(unverified.default_skus().is_empty());
    let verified = Catalogue::parse(&file.replace("recalled", "S2")).unwrap();
    assert_eq!(found(&verified, &seen), ["p active"]);
}

#[test]
fn what_speaks_against_is_told() {
    let against = |os: Os, lines: &[&str]| {
        let explained = Catalogue::embedded().explain(&machine(os, lines), now());
        let looks = explained.into_iter().flat_map(|explanation| explanation.looks);
        let said = looks.filter_map(|look| match look.sight {
            Sight::Discounted(why) => Some(why),
            _ => None,
        });
        said.collect::<Vec<String>>()
    };
    let seen = machine(Os::Linux, &["deb ds-agent=deinstall ok config-files", "path /opt/ds_agent/ds_agent"]);
    let findings = Catalogue::embedded().find(&seen, now());
    assert_eq!(findings[0].against, ["package ds-agent is `deinstall ok config-files`, not installed"]);
    assert_eq!(findings[0].signals, ["path:/opt/ds_agent/ds_agent"]);
    assert_eq!(
        against(Os::Windows, &["center Trend Micro Apex One Antivirus=stale"]),
        ["the Security Center row `Trend Micro Apex One Antivirus` outlived its program"]
    );
    assert_eq!(
        against(Os::Windows, &["uninstall {x}=Trend Micro Maximum Security by Removal Soft GmbH"]),
        ["`Trend Micro Maximum Security` was published by `Removal Soft GmbH`"]
    );
}
