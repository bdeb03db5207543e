//! What becomes of shell text.

use super::*;

/// Each command as `line:column words`, with what it stands in.
fn show(text: &str) -> Vec<String> {
    let script = Script::parse(text);
    assert_eq!(script.refused, None, "{text}");
    let commands = script.commands.iter().map(|command| {
        let at = command.words.first().map_or((0, 0), |word| (word.line, word.column));
        let inside = command.inside.map_or(String::new(), |inside| format!(" in {inside}"));
        let pipe = if command.stages > 1 {
            format!(" {}/{}", command.position + 1, command.stages)
        } else {
            String::new()
        };
        format!("{}:{} {}{pipe}{inside}", at.0, at.1, command.line_text())
    });
    commands.collect()
}

#[test]
fn words_lose_their_quotes_and_keep_their_places() {
    assert_eq!(show("a 'b c' \"d $E\" f\\ g"), ["1:1 a b c d $E f g"]);
    assert_eq!(show("# no\na \\\n  --b=c \\\n  d | e"), ["2:1 a --b=c d 1/2", "4:7 e 2/2"]);
    let script = Script::parse("a \\\n  --b=c \\\n  d");
    let places: Vec<_> = script.commands[0].words.iter().map(|word| (word.line, word.column)).collect();
    assert_eq!(places, [(1, 1), (2, 3), (3, 3)]);
}

#[test]
fn substitutions_are_commands_of_their_own() {
    assert_eq!(
        show("x --y=$(aws s3 ls \\\n  b) z"),
        ["1:1 x --y=$(aws s3 ls     b) z", "1:9 aws s3 ls b in 0"]
    );
    assert_eq!(show("x `y z`"), ["1:1 x `y z`", "1:4 y z in 0"]);
}

/// Each stands behind the one that it stands in: whoever goes outwards arrives.
#[test]
fn what_stands_inside_of_a_command_stands_behind_it() {
    assert_eq!(
        show("a <(b <(c) | d) < <(e) \"$(f)\""),
        ["1:1 a $(f)", "1:5 b 1/2 in 0", "1:9 c in 1", "1:14 d 2/2 in 0", "1:21 e in 0", "1:27 f in 0"]
    );
}

#[test]
fn placeholders_are_words_and_redirections_are_not() {
    assert_eq!(show("kubectl logs <pod-name> -n x"), ["1:1 kubectl logs <pod-name> -n x"]);
    let script = Script::parse("psql -d a < in.sql > out");
    let directions: Vec<_> = script.commands[0].redirects.iter().map(|redirect| redirect.direction).collect();
    assert_eq!(directions, [Direction::Read, Direction::Write]);
    assert_eq!(Script::parse("cat <<EOF\n<a> b\nEOF\nls").commands.len(), 2);
}

#[test]
fn control_flow_is_walked_and_what_is_looked_at_is_marked() {
    let script = Script::parse("if a; then b; else c || d; fi\nfor x in 1 2; do e; done\n( f && ! g )");
    let shown: Vec<_> = script.commands.iter().map(|command| (command.name(), command.guarded)).collect();
    assert_eq!(
        shown,
        [("a", true), ("b", false), ("c", true), ("d", true), ("e", false), ("f", false), ("g", true)]
    );
}

#[test]
fn what_a_shell_refuses_is_placed_and_what_stands_before_is_read() {
    let check = |text: &str, what: &str, place: (usize, usize)| {
        let script = Script::parse(text);
        let refused = script.refused.unwrap_or_else(|| panic!("{text} is taken"));
        assert_eq!((refused.what.as_str(), (refused.line, refused.column)), (what, place), "{text}");
        script.commands.len()
    };
    assert_eq!(check("a\necho 'b", "this single quote has no end", (2, 6)), 1);
    assert_eq!(check("a\necho \"b", "this double quote has no end", (2, 6)), 1);
    check("cat <<EOF\nx\n", "this here-document has no end", (1, 5));
    check("if a; then b", "a shell waits for more here", (1, 12));
}

/// bash itself is the judge, where there is one.
#[test]
fn bash_agrees_on_what_it_takes() {
    let takes = |text: &str| {
        let ran = std::process::Command::new("bash").args(["-n", "-c", text]).output().ok()?;
        Some(ran.status.success())
    };
    for text in [
        "a | b && c || d &",
        "x=$(a \"b $(c)\") y",
        "case $x in a|b) c;; *) d;; esac",
        "a <<'E' | b\n$(\nE",
        "while read -r l; do echo \"$l\"; done < f",
        "echo $((1 + 2)) ${a:-b} ${a[@]}",
        "f() { local a=1; }",
        "[[ $a == b* ]] && c",
        "a 2>&1 >/dev/null",
        "echo 'a",
        "if a; then b",
        "a ) b",
        "for x in; do",
        "echo \"a",
        "a && ",
        "{ a; }",
        "cat <<< \"$x\"",
        "a <(b) >(c)",
        "done",
    ] {
        if let Some(taken) = takes(text) {
            assert_eq!(Script::parse(text).refused.is_none(), taken, "{text}");
        }
    }
}

#[test]
fn h1_what_is_too_long_or_too_deep_is_not_parsed() {
    let deep = format!("echo {}{}", "$(".repeat(40), ")".repeat(40));
    assert_eq!(Script::parse(&deep), Script::default());
    assert_eq!(Script::parse(&"a b\n".repeat(20_000)), Script::default());
}
