use proptest::prelude::*;

use super::*;

fn decomposed(text: &str) -> String {
    DECOMPOSED.normalize(text).into_owned()
}

/// Every character there is.
fn characters() -> impl Iterator<Item = char> {
    (0..=u32::from(char::MAX)).filter_map(char::from_u32)
}

#[test]
fn folding_twice_is_folding_once_for_every_character() {
    for c in characters() {
        let text = c.to_string();
        let folded = fold(&text);
        assert_eq!(fold(&folded), folded, "U+{:04X}", u32::from(c));
        assert_eq!(normal(&folded), folded, "U+{:04X}", u32::from(c));
        assert_eq!(fold(&decomposed(&text)), folded, "decomposed, U+{:04X}", u32::from(c));
        // Lower, upper and title case of a letter are one.
        assert_eq!(fold(&text.to_uppercase()), folded, "upper case, U+{:04X}", u32::from(c));
        assert_eq!(fold(&text.to_lowercase()), folded, "lower case, U+{:04X}", u32::from(c));
        assert_eq!(
            folded.contains(char::is_whitespace),
            c.is_whitespace(),
            "a word stays one, U+{:04X}",
            u32::from(c)
        );
    }
}

#[test]
fn a_fold_has_no_case_and_no_accents() {
    for (texts, folded) in [
        (&["Ação", "AÇÃO", "ac\u{327}a\u{303}o", "acao"][..], "acao"),
        (&["João", "JOA\u{303}O", "joao"], "joao"),
        (&["Straße", "STRASSE", "STRAẞE", "strasse"], "strasse"),
        (&["İstanbul", "istanbul", "ISTANBUL", "ıstanbul"], "istanbul"),
        (&["ΟΔΟΣ", "οδος", "Οδός", "οδοσ"], "οδοσ"),
        (&["ﬁm", "FIM", "fim"], "fim"),
        (&["Å", "\u{212b}", "A\u{30a}"], "a"),
        (&["í\u{200d}ndice", "\u{feff}Índice"], "indice"),
        (&["한국", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"], "한국"),
        (&["100%_\\"], "100%_\\"),
    ] {
        for text in texts {
            assert_eq!(fold(text), folded, "{text}");
        }
    }
}

#[test]
fn a_search_is_words_and_never_wider_than_it_reads() {
    assert_eq!(words(" Gonçalves\u{a0}\u{2003}ÁGUA água "), ["goncalves", "agua"]);
    assert!(words("").is_empty() && words(" \u{a0}\u{3000}").is_empty());
    for nothing in ["\u{301}", "\u{200b}", "\u{202e}\u{327}"] {
        let words = words(nothing);
        assert_eq!(words.len(), 1, "a word that folds to nothing is not dropped");
        assert!(!secret_search_text("ac\u{327}\u{301}\u{200b}", None, "x").contains(&words[0]));
    }
    for (word, id) in [
        ("1", Some(1)),
        ("101", Some(101)),
        ("9007199254740991", Some(MAX_ID)),
        ("9007199254740992", None),
        ("0", None),
        ("007", None),
        ("-1", None),
        ("+1", None),
        ("1.0", None),
        ("", None),
        ("1a", None),
        ("١", None),
        ("99999999999999999999999", None),
    ] {
        assert_eq!(id_of(word), id, "{word}");
    }
}

#[test]
fn what_turns_or_hides_text_is_in_no_name() {
    for c in [
        '\u{202a}',
        '\u{202e}',
        '\u{2066}',
        '\u{2069}',
        '\u{200e}',
        '\u{200f}',
        '\u{61c}',
        '\u{200b}',
        '\u{feff}',
        '\u{ad}',
        '\u{2060}',
        '\u{2028}',
        '\u{e0041}',
        '\u{3164}',
        '\u{200d}',
        '\u{200c}',
    ] {
        for text in [format!("Ana{c}azuoS"), format!("{c}Ana"), format!("Ana{c}"), c.to_string()] {
            for check in [name, username, email, identifier, tag, note] {
                assert_eq!(check(&text), Err(TextError::Hidden(c.into())), "U+{:04X}", u32::from(c));
            }
            assert!(url(&format!("https://a.example/{text}")).is_err());
        }
    }
    // A joiner belongs into these.
    for word in ["می\u{200c}خواهم", "👩\u{200d}💻", "क\u{94d}\u{200d}ष"] {
        assert_eq!(name(word), Ok(word.to_owned()));
        assert!(matches!(username(word), Err(TextError::Hidden(_))));
    }
    assert_eq!(
        TextError::Hidden(0x202e).to_string(),
        "must not contain characters that nobody sees or that turn the direction of text (it has U+202E)"
    );
}

#[test]
fn what_trimming_would_change_is_refused() {
    for space in [" ", "\u{a0}", "\u{3000}", "\u{2003}"] {
        for text in [format!("{space}a"), format!("a{space}"), format!("{space}a{space}")] {
            for check in [name, username, email, identifier, tag, note] {
                assert_eq!(check(&text), Err(TextError::Untrimmed));
            }
        }
        assert_eq!(name(&format!("a{space}b")), Ok(format!("a{space}b")));
        assert_eq!(tag(space), Err(TextError::Blank));
    }
    assert_eq!((name(""), tag("")), (Err(TextError::Empty), Err(TextError::Empty)));
    assert_eq!((email(""), identifier("")), (Ok(String::new()), Ok(String::new())));
    assert_eq!(name("\u{2800}"), Err(TextError::Blank));
    assert_eq!(name("a\u{7}"), Err(TextError::Control));
    assert_eq!(name("Joa\u{303}o"), Ok("João".to_owned()));
    assert_eq!(username("joa\u{303}o"), Err(TextError::NotNormal));
    assert_eq!(username("João"), Ok("João".to_owned()));
}

#[test]
fn lengths_are_counted_in_characters_of_the_normal_form() {
    for (check, max) in [
        (name as fn(&str) -> Result<String, TextError>, 200),
        (username, 200),
        (email, 320),
        (identifier, 200),
        (tag, 60),
    ] {
        assert_eq!(check(&"ã".repeat(max)).map(|text| text.chars().count()), Ok(max));
        assert_eq!(check(&"ã".repeat(max + 1)), Err(TextError::TooLong(max)));
    }
    assert!(name(&"a\u{303}".repeat(200)).is_ok());
    assert!(url(&format!("https://a.example/{}", "x".repeat(1_982))).is_ok());
    assert_eq!(url(&format!("https://a.example/{}", "x".repeat(1_983))), Err(TextError::TooLong(2_000)));
    assert_eq!(notes(&"x\n".repeat(5_000)).map(|text| text.len()), Ok(10_000));
    assert_eq!(notes(&"x".repeat(10_001)), Err(TextError::TooLong(10_000)));
    assert_eq!(client_id(&"x".repeat(501)), Err(TextError::TooLong(500)));
    assert_eq!(client_secret(&"x".repeat(16_385)), Err(TextError::TooManyBytes(16_384)));
    assert_eq!(client_secret("-----BEGIN\nKEY\t\r\n"), Ok(()));
    assert_eq!(search(&"ã".repeat(200)), Ok(()));
    assert_eq!(search(&"ã".repeat(201)), Err(TextError::TooLong(200)));
    let many = |n: u32| (0..n).map(|n| format!("{n}x ")).collect::<String>();
    assert_eq!(search(&many(16)), Ok(()));
    assert_eq!(search(&many(17)), Err(TextError::TooManyWords(16)));
    assert_eq!(tag_search(&"a\u{303}".repeat(61)), Err(TextError::TooLong(60)));
    assert_eq!(tag_search(&"a\u{303}".repeat(60)), Ok(()));
}

#[test]
fn an_address_is_of_the_web_and_has_a_host() {
    for good in [
        "https://api.example.com",
        "HTTP://API.example.com:8080/v1?x=1#y",
        "https://[::1]/",
        "https://água.example/é",
        "http://10.0.0.1",
    ] {
        assert_eq!(url(good), Ok(good.to_owned()));
    }
    for bad in [
        "x",
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://a.example",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https:a.example",
        "https:\\\\a.example",
        "//a.example",
        "http://:80",
        "https://a b.example",
        "https://a.example:99999",
        "mailto:a@b.example",
        "https://[::1",
        "api.example.com",
    ] {
        assert_eq!(url(bad), Err(TextError::NotUrl), "{bad}");
    }
    assert_eq!((method("get"), method("")), (Ok("GET".to_owned()), Ok(String::new())));
    for bad in ["TRACE", "CONNECT", "G ET", " GET", "FOO", "GET\n"] {
        assert_eq!(method(bad), Err(TextError::NotMethod), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_text_folds_as_its_other_spellings_do(text in "\\PC{0,40}") {
        let folded = fold(&text);
        prop_assert_eq!(fold(&folded), folded.clone());
        prop_assert_eq!(fold(&decomposed(&text)), folded.clone());
        prop_assert_eq!(fold(&normal(&text)), folded.clone());
        prop_assert_eq!(fold(&text.to_uppercase()), folded.clone());
        prop_assert_eq!(fold(&text.to_lowercase()), folded);
    }

    #[test]
    fn what_was_taken_is_taken_again_as_it_is(text in "\\PC{0,40}") {
        for check in [name, username, email, identifier, tag, note] {
            if let Ok(taken) = check(&text) {
                prop_assert_eq!(check(&taken), Ok(taken.clone()));
                prop_assert_eq!(taken.trim(), &taken);
            }
        }
    }

    #[test]
    fn each_word_of_a_text_is_found_in_it(name in "\\PC{1,40}", url in "\\PC{1,20}") {
        let kept = secret_search_text(&name, None, &url);
        for word in words(&decomposed(&name.to_uppercase())).iter().chain(&words(&url)) {
            if !fold(word).is_empty() {
                prop_assert!(kept.contains(word.as_str()), "{:?} in {:?}", word, kept);
            }
        }
    }
}
