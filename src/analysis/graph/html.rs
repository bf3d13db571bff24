//! A picture as a page that needs nothing else: for a browser, and for a reader without one that shows pictures.

use super::drawing::Drawing;
use super::svg::{escaped, svg};

/// The page.
pub fn html(drawing: &Drawing, words: &str) -> String {
    let title = escaped(&drawing.title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>body{{margin:0}}main{{overflow:auto}}details{{margin:1em}}pre{{overflow:auto}}</style>\n\
         </head>\n<body>\n<main>\n{}</main>\n<details><summary>In words</summary>\n<pre>{}</pre></details>\n</body>\n</html>\n",
        svg(drawing),
        escaped(words)
    )
}
