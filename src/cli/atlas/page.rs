//! `index.html`: the page of an atlas. It opens from the disk, where a browser lets it read no other text; so script, style and
//! index are parts of it.

use super::{super::Failure, index::Index};

/// The page, with marks where its parts belong.
const PAGE: &str = include_str!("page/page.html");

/// The page of an atlas.
pub(super) fn of(index: &Index) -> Result<String, Failure> {
    // Inside a script's element, only the beginning of its end has a meaning of its own.
    let index = serde_json::to_string(index)?.replace('<', "\\u003c");
    let page = PAGE.replacen("STYLE-OF-THE-PAGE", include_str!("page/page.css").trim_end(), 1).replacen(
        "SCRIPT-OF-THE-PAGE",
        include_str!("page/page.js").trim_end(),
        1,
    );
    // Last, so that nothing is looked for in what a model says of itself.
    Ok(page.replacen("INDEX-OF-THE-ATLAS", &index, 1))
}
