//! axe-core (`axe.min.js`, version 4.14.1 as it comes from npm; MPL-2.0, `axe.LICENSE`): what keeps
//! people out.

use serde_json::{Value, json};

use super::browser::Browser;

const SOURCE: &str = include_str!("axe.min.js");

/// WCAG 2.2 at levels A and AA and what axe-core holds to be good practice.
const TAGS: &[&str] = &["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"];

/// The rules of axe-core whose answer depends on colours: the only ones that a theme can change.
const RULES_OF_COLOURS: &[&str] = &["color-contrast", "link-in-text-block"];

const RUN: &str = "
    const results = await axe.run(document, { runOnly: arguments[0], resultTypes: ['violations'] });
    return results.violations.flatMap(({ id, impact, help, nodes }) =>
        nodes.map((node) => `${id} (${impact}) ${node.target.join(' ')}: ${help}`));
";

impl Browser {
    /// What is wrong with the page as it stands, a line each: rule, impact, selector, explanation.
    pub fn axe(&self) -> Vec<String> {
        self.run(json!({"type": "tag", "values": TAGS}))
    }

    /// What is wrong with the page's colours as they are, for a theme whose twin was looked at as a whole.
    pub fn axe_of_colours(&self) -> Vec<String> {
        self.run(json!({"type": "rule", "values": RULES_OF_COLOURS}))
    }

    fn run(&self, only: Value) -> Vec<String> {
        if self.script("return typeof window.axe", &[]) == "undefined" {
            self.script(SOURCE, &[]);
        }
        // `await` needs an async function around it; the promise is waited for.
        let lines =
            self.script(&format!("return (async function() {{ {RUN} }}).apply(null, arguments)"), &[only]);
        let lines = lines.as_array().expect("lines").iter();
        lines.map(|line| line.as_str().expect("a line").to_owned()).collect()
    }
}
