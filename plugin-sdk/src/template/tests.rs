use proptest::prelude::*;
use serde_json::json;

use super::*;

fn case() -> Value {
    json!({
        "caseData": {"id": "4e7d1c92-58ab-4a63-9b1f-c07e2d48a5f1", "brand": "Nord/Süd", "claimNumber": "NB-48213", "archived": false,
                     "deductible": 500, "rate": 1.5, "none": null, "empty": "", "lines": [{"type": "auto"}, "x"]},
        "referenceId": "NB-48213",
    })
}

fn path(template: &str, payload: &Value) -> String {
    Template::parse(template).unwrap().path(payload, &Variables::of(payload, 1_795_343_400_000))
}

fn line(template: &str, payload: &Value) -> String {
    Template::parse_line(template).unwrap().line(payload, &Variables::of(payload, 1_795_343_400_000))
}

#[test]
fn values_and_variables_are_filled_in() {
    for (template, name) in [
        ("${caseData.brand}/${caseData.claimNumber}_${partialId}", "Nord_Süd/NB-48213_4e7d1c92-"),
        (DEFAULT_FILE_NAME, "NB-48213_4e7d1c92-_20261122T103000Z"),
        ("${caseData.deductible}-${caseData.rate}-${caseData.archived}", "500-1.5-false"),
        ("${caseData.lines.0.type}.${caseData.lines.1}", "auto.x"),
        ("${caseData.lines}${caseData.none}/${caseData.empty}", "unknownunknown/unknown"),
        ("${caseData.lines.2}-${caseData.brand.x}-${x}", "unknown-unknown-unknown"),
        ("$${referenceId}$ {x}", "$NB-48213$ {x}"),
    ] {
        assert_eq!(path(template, &case()), name, "{template}");
    }
    // What a case that changed hands is posted as.
    let wrapped = json!({"case": case(), "prevPrimaryContact": {"first": "Amir"}});
    assert_eq!(
        path("${caseData.brand}/${prevPrimaryContact.first}_${partialId}", &wrapped),
        "Nord_Süd/Amir_4e7d1c92-"
    );
    for (payload, partial) in [
        (json!({"case": {"id": 1_234_567_890_123_u64}}), "123456789"),
        (json!({"caseId": "ééééééééééé"}), "ééééééééé"),
        (json!({"conversation_id": "86c1f4b02d9e4a7f"}), "86c1f4b02"),
        (json!({"id": "n"}), "n"),
        (json!({"id": {}}), ""),
        (json!([1]), ""),
    ] {
        assert_eq!(Variables::of(&payload, 0).partial_id, partial, "{payload}");
    }
    assert_eq!(path("${partialId}", &json!({})), MISSING);
}

#[test]
fn a_value_cannot_be_more_than_a_part_of_a_name() {
    let with = |value: &str| path("a/${v}/b-${v}.pdf", &json!({"v": value}));
    for (value, name) in [
        ("..", "a/_/b-_.pdf"),
        ("../../etc/passwd", "a/_.._etc_passwd/b-_.._etc_passwd.pdf"),
        ("/", "a/_/b-_.pdf"),
        (" . x. . ", "a/x/b-x.pdf"),
        ("a\u{0}b\r\nc\\d", "a/a_b__c_d/b-a_b__c_d.pdf"),
        ("gpj.\u{202e}exe", "a/gpj._exe/b-gpj._exe.pdf"),
        ("\u{2066}\u{feff}x\u{200b}", "a/__x_/b-__x_.pdf"),
        ("<>:\"|?*", "a/_______/b-_______.pdf"),
        ("NUL", "a/_NUL/b-NUL.pdf"),
        ("com1.txt", "a/_com1.txt/b-com1.txt.pdf"),
        ("a\u{a0}b", "a/a b/b-a b.pdf"),
        ("👩\u{200d}🔧", "a/👩\u{200d}🔧/b-👩\u{200d}🔧.pdf"),
        ("~", "a/~/b-~.pdf"),
    ] {
        assert_eq!(with(value), name, "{value:?}");
    }
    assert_eq!(path("${v}${v}", &json!({"v": "."})), "__");
    assert_eq!(path("a?b: c. /x ", &json!({})), "a_b_ c/x");
    // The template of a line is no path, and safe as one all the same.
    let line = Template::parse_line("../${v}//.x").unwrap();
    assert_eq!(line.path(&json!({"v": "/"}), &Variables::of(&json!({}), 0)), "____.x");
}

#[test]
fn names_are_cut_before_their_extension() {
    let long = json!({"v": "é".repeat(400), "short": "s"});
    let name = path("${v}.pdf", &long);
    assert_eq!((name.len(), name.ends_with("é.pdf")), (254, true), "{name}");
    let deep = path(&["${v}"; LEVELS].join("/"), &long);
    assert_eq!(deep.split('/').map(str::len).collect::<Vec<_>>(), [62; LEVELS]);
    // Only what is long is cut.
    let mixed = path("${short}/${v}/${v}/${v}/${v}/${short}.pdf", &long);
    assert!(mixed.starts_with("s/é") && mixed.ends_with("é/s.pdf") && mixed.len() > 1_000, "{mixed}");

    assert_eq!(numbered(&name, 12).len(), 255);
    assert!(numbered(&name, 12).ends_with("é-12.pdf"), "{}", numbered(&name, 12));
    let wrapped = with_extension(&name, ".pgp");
    assert!(wrapped.len() <= PART_BYTES && wrapped.ends_with("é.pdf.pgp"), "{wrapped}");
    assert_eq!(numbered("x.tar.pgp", 2), "x-2.tar.pgp");
    assert_eq!(numbered("a.b/v1.2 final", 2), "a.b/v1.2 final-2");
    assert_eq!(with_extension("x", "/../y"), "x..y");
}

#[test]
fn a_line_is_one_line() {
    let payload = json!({"v": " a\r\nBcc: x@example.org\u{2028}\u{202e}b\t ", "long": "é".repeat(400)});
    assert_eq!(line("Re: ${v} / ${missing} //", &payload), "Re: a Bcc: x@example.org b / //");
    assert_eq!(line("${missing}", &payload), "");
    let cut = line("x ${long}${long}", &payload);
    assert_eq!((cut.chars().count(), cut.chars().last()), (LINE_CHARS, Some('é')));
    assert_eq!(
        Template::parse("a/${v}").unwrap().line(&json!({"v": "b/c"}), &Variables::of(&json!({}), 0)),
        "a/b/c"
    );
}

#[test]
fn what_is_no_template_says_where() {
    for (text, at, why) in [
        ("", 1, "it is empty"),
        (" ", 1, "it is empty"),
        ("/etc/x", 1, "it has an empty part in the path"),
        ("a//b", 3, "it has an empty part in the path"),
        ("a/", 3, "it has an empty part in the path"),
        ("a/../b", 3, "a part of the path begins with a dot"),
        (".ssh/x", 1, "a part of the path begins with a dot"),
        ("a\\b", 2, "it has a control character or `\\`"),
        ("a\nb", 2, "it has a control character or `\\`"),
        ("é${x", 2, "`${` is not closed"),
        ("a${x/y}", 2, "`${` is not closed"),
        ("${}", 1, "`${…}` does not hold a path of names with `.` between them"),
        ("a${x y}", 2, "`${…}` does not hold a path of names with `.` between them"),
        ("a/${x..y}", 3, "`${…}` does not hold a path of names with `.` between them"),
    ] {
        assert_eq!(Template::parse(text), Err(TemplateError { at, why }), "{text}");
    }
    let error = Template::parse(&"é".repeat(513)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "it is longer than 1024 bytes (the limit `template_bytes`), at character 513"
    );
    assert!(Template::parse(&"é".repeat(512)).is_ok());
    assert!(Template::parse(&["a"; LEVELS].join("/")).is_ok());
    assert_eq!(Template::parse(&["a"; LEVELS + 1].join("/")).unwrap_err().at, 33);
    assert!(Template::parse_line("see https://example.org/a\\b ../x").is_ok());
    for text in ["", "a\r\nb", "${x", "${x y}"] {
        assert!(Template::parse_line(text).is_err(), "{text:?}");
    }
}

/// Texts of the characters that matter here, and any others.
fn hostile() -> impl Strategy<Value = String> {
    let dangerous = prop::sample::select(vec![
        "/", "\\", "..", ".", " ", "\0", "\n", "\u{202e}", "\u{200b}", "con", ".pdf", "é", "😀", "$", "{",
        "}", "-",
    ]);
    prop_oneof![
        prop::collection::vec(dangerous, 0..40).prop_map(|parts| parts.concat()),
        prop::collection::vec(any::<char>(), 0..400).prop_map(|chars| chars.into_iter().collect()),
    ]
}

fn template() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "${a}",
        "${b.c}",
        "${list.0}",
        "${partialId}",
        "${currentDateTime}",
        "${x}",
        "text",
        ".",
        " ",
        "-",
        "/",
        "é",
        "a.pdf",
    ]);
    prop::collection::vec(piece, 1..60).prop_map(|pieces| pieces.concat())
}

fn is_name(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= PART_BYTES
        && !part.starts_with(['.', ' '])
        && !part.ends_with(['.', ' '])
        && !part.chars().any(|c| c.is_control() || name::turns_or_breaks(c) || "/\\<>:\"|?*".contains(c))
}

proptest! {
    #[test]
    fn no_payload_adds_a_level_or_leaves_the_root(text in template(), a in hostile(), b in hostile(), id in hostile()) {
        let payload = json!({"a": a, "b": {"c": b}, "list": [&id], "id": id});
        let variables = Variables::of(&payload, 1_795_343_400_000);
        if let Ok(template) = Template::parse(&text) {
            for path in [template.path(&payload, &variables), numbered(&template.path(&payload, &variables), 7),
                         with_extension(&template.path(&payload, &variables), ".pgp")] {
                prop_assert_eq!(path.split('/').count(), text.split('/').count(), "{}", path);
                prop_assert!(path.split('/').all(is_name), "{:?}", path);
                prop_assert!(path.len() <= PATH_BYTES, "{}", path.len());
            }
        }
        if let Ok(template) = Template::parse_line(&text) {
            let path = template.path(&payload, &variables);
            prop_assert!(is_name(&path), "{:?}", path);
            let line = template.line(&payload, &variables);
            prop_assert!(line.chars().count() <= LINE_CHARS);
            prop_assert!(!line.chars().any(|c| c.is_control() || name::turns_or_breaks(c)), "{:?}", line);
        }
    }

    #[test]
    fn reading_a_template_never_fails_otherwise(text in hostile()) {
        for parsed in [Template::parse(&text), Template::parse_line(&text)] {
            if let Err(error) = parsed {
                prop_assert!(error.at >= 1 && error.at <= text.chars().count() + 1);
            }
        }
    }
}
