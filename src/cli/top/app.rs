//! What is chosen on the screen, and what keys do. It asks for nothing and draws nothing.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::sample::Sample;

/// A list of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum List {
    #[default]
    Machines,
    Drops,
    Flows,
    Links,
}

impl List {
    pub(super) const ALL: [Self; 4] = [Self::Machines, Self::Drops, Self::Flows, Self::Links];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Machines => "Machines",
            Self::Drops => "Drops",
            Self::Flows => "Flows",
            Self::Links => "Links",
        }
    }

    /// Headings of columns.
    pub(super) const fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Machines => &["Interface", "Sent/s", "Received/s", "Packets/s", "Drops/s", "Drops", "State"],
            Self::Drops => &["Reason", "Interface", "Packets/s", "Packets"],
            Self::Flows => &["Machine", "Proto", "Source", "Destination", "Rate", "State"],
            Self::Links => &["State", "Kind", "Link", "Why"],
        }
    }

    /// What a list is sorted by at first.
    const fn first_sort(self) -> usize {
        match self {
            Self::Links => 0,
            Self::Drops => 2,
            Self::Machines => 3,
            Self::Flows => 4,
        }
    }
}

/// What a machine is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Routes,
    Rules,
    Drops,
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Text(String),
    Count(u64),
    /// In a second.
    Rate(u64),
    /// Bits in a second.
    Bits(u64),
}

/// One row of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// The same in each sample.
    pub(super) key: String,
    /// The machine that Enter opens.
    pub(super) node: Option<String>,
    pub(super) columns: Vec<Column>,
}

impl Row {
    pub(super) fn new(key: &str, columns: Vec<Column>) -> Self {
        Self { key: key.to_owned(), node: None, columns }
    }
}

/// What a key asks of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Quit,
    /// Another list is shown: its rows are needed now.
    Sample,
    Open {
        node: String,
        what: What,
    },
}

/// A machine that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) node: String,
    pub(super) what: What,
    pub(super) lines: Vec<String>,
    pub(super) top: usize,
}

/// All that is on the screen.
#[derive(Debug, Default)]
pub(super) struct App {
    pub(super) list: List,
    pub(super) sample: Sample,
    /// The row that is chosen, by its key.
    pub(super) chosen: Option<String>,
    /// Index of the column that rows are sorted by; by default the list's own.
    sort: Option<usize>,
    pub(super) filter: String,
    /// Letters go into the filter.
    pub(super) typing: bool,
    pub(super) opened: Option<Opened>,
}

impl App {
    /// Takes a new look at the lab.
    pub(super) fn show(&mut self, sample: Sample) {
        self.sample = sample;
    }

    /// Shows a machine's routes, rules or drops.
    pub(super) fn open(&mut self, node: &str, what: What, lines: Vec<String>) {
        self.opened = Some(Opened { node: node.to_owned(), what, lines, top: 0 });
    }

    /// The machine that is open, and what for.
    pub(super) fn machine(&self) -> Option<(String, What)> {
        self.opened.as_ref().map(|opened| (opened.node.clone(), opened.what))
    }

    /// The same machine, as it is now.
    pub(super) fn refresh(&mut self, lines: Vec<String>) {
        if let Some(opened) = &mut self.opened {
            opened.top = opened.top.min(lines.len().saturating_sub(1));
            opened.lines = lines;
        }
    }

    pub(super) fn sorted_by(&self) -> usize {
        self.sort.unwrap_or(self.list.first_sort())
    }

    /// The rows that the filter lets through, sorted: names upwards, numbers downwards.
    pub(super) fn rows(&self) -> Vec<&Row> {
        let filter = self.filter.to_lowercase();
        let text = |row: &Row| row.columns.iter().any(|column| column.text().to_lowercase().contains(&filter));
        let mut rows: Vec<_> = self.sample.rows.iter().filter(|row| filter.is_empty() || text(row)).collect();
        let by = self.sorted_by();
        rows.sort_by(|a, b| match (a.columns.get(by), b.columns.get(by)) {
            (Some(Column::Text(a)), Some(Column::Text(b))) => a.cmp(b),
            (Some(a), Some(b)) => b.number().cmp(&a.number()),
            _ => std::cmp::Ordering::Equal,
        });
        rows
    }

    /// Where the chosen row is.
    pub(super) fn at(&self, rows: &[&Row]) -> usize {
        rows.iter().position(|row| Some(&row.key) == self.chosen.as_ref()).unwrap_or_default()
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Option<Wish> {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Some(Wish::Quit);
        }
        if self.typing {
            self.type_filter(key.code);
            return None;
        }
        if self.opened.is_some() {
            return self.in_machine(key.code);
        }
        match key.code {
            KeyCode::Char('q') => return Some(Wish::Quit),
            KeyCode::Char('s') => self.sort = Some((self.sorted_by() + 1) % self.list.columns().len()),
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Tab => return Some(self.turn_to((self.list as usize + 1) % List::ALL.len())),
            KeyCode::BackTab => {
                return Some(self.turn_to((self.list as usize + List::ALL.len() - 1) % List::ALL.len()));
            }
            KeyCode::Char(digit @ '1'..='4') => return Some(self.turn_to(digit as usize - '1' as usize)),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::PageDown => self.step(15),
            KeyCode::PageUp => self.step(-15),
            KeyCode::Home => self.step(isize::MIN),
            KeyCode::End => self.step(isize::MAX),
            KeyCode::Enter => {
                let rows = self.rows();
                let node = rows.get(self.at(&rows)).and_then(|row| row.node.clone())?;
                let what = if self.list == List::Drops { What::Drops } else { What::Routes };
                return Some(Wish::Open { node, what });
            }
            _ => {}
        }
        None
    }

    fn turn_to(&mut self, list: usize) -> Wish {
        self.list = List::ALL[list];
        (self.sort, self.chosen) = (None, None);
        self.sample.rows.clear();
        Wish::Sample
    }

    fn step(&mut self, by: isize) {
        let rows = self.rows();
        let last = rows.len().saturating_sub(1);
        let at = self.at(&rows).saturating_add_signed(by).min(last);
        self.chosen = rows.get(at).map(|row| row.key.clone());
    }

    fn type_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(letter) => self.filter.push(letter),
            _ => {}
        }
    }

    fn in_machine(&mut self, key: KeyCode) -> Option<Wish> {
        let opened = self.opened.as_mut()?;
        let last = opened.lines.len().saturating_sub(1);
        let what = match key {
            KeyCode::Char('q') => return Some(Wish::Quit),
            KeyCode::Esc | KeyCode::Enter | KeyCode::Backspace => {
                self.opened = None;
                return None;
            }
            KeyCode::Char('r') => What::Routes,
            KeyCode::Char('u') => What::Rules,
            KeyCode::Char('d') => What::Drops,
            key => {
                let by = match key {
                    KeyCode::Down | KeyCode::Char('j') => 1,
                    KeyCode::Up | KeyCode::Char('k') => -1,
                    KeyCode::PageDown => 15,
                    KeyCode::PageUp => -15,
                    _ => 0,
                };
                opened.top = opened.top.saturating_add_signed(by).min(last);
                return None;
            }
        };
        Some(Wish::Open { node: opened.node.clone(), what })
    }
}

impl Column {
    const fn number(&self) -> u64 {
        match self {
            Self::Text(_) => 0,
            Self::Count(number) | Self::Rate(number) | Self::Bits(number) => *number,
        }
    }

    pub(super) const fn is_number(&self) -> bool {
        !matches!(self, Self::Text(_))
    }

    /// At most nine characters for a number.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Rate(0) | Self::Bits(0) => "-".to_owned(),
            Self::Count(number) | Self::Rate(number) => scaled(*number, ""),
            Self::Bits(number) => scaled(*number, "bit"),
        }
    }
}

fn scaled(number: u64, unit: &str) -> String {
    const UNITS: [&str; 5] = ["", "k", "M", "G", "T"];
    let (mut whole, mut part, mut at) = (number, 0, 0);
    while whole >= 10_000 && at + 1 < UNITS.len() {
        (part, whole) = (whole % 1000 / 100, whole / 1000);
        at += 1;
    }
    let blank = if unit.is_empty() { "" } else { " " };
    if at == 0 { format!("{whole}{blank}{unit}") } else { format!("{whole}.{part}{blank}{}{unit}", UNITS[at]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(app: &mut App, keys: &str) {
        for key in keys.chars() {
            let code = if key == '\n' { KeyCode::Enter } else { KeyCode::Char(key) };
            app.press(KeyEvent::new(code, KeyModifiers::NONE));
        }
    }

    fn app(rows: usize) -> App {
        let row = |at: usize| {
            let key = format!("m{at}/eth0");
            let columns = vec![Column::Text(key.clone()), Column::Bits(at as u64), Column::Bits(0)];
            Row { node: Some(format!("m{at}")), ..Row::new(&key, columns) }
        };
        let mut app = App::default();
        app.show(Sample { rows: (0..rows).map(row).collect(), ..Sample::default() });
        app
    }

    /// Control-C always ends it; other keys with Control, and `c` alone, do not.
    #[test]
    fn control_c_ends_it_wherever_one_is() {
        let with = |code, modifiers| KeyEvent::new(code, modifiers);
        let control_c = with(KeyCode::Char('c'), KeyModifiers::CONTROL);
        for keys in ["", "/ab", "\n"] {
            let mut app = app(3);
            press(&mut app, keys);
            for other in [
                with(KeyCode::Char('x'), KeyModifiers::CONTROL),
                with(KeyCode::Char('c'), KeyModifiers::NONE),
                with(KeyCode::Char('c'), KeyModifiers::SHIFT),
            ] {
                assert!(!matches!(app.press(other), Some(Wish::Quit)), "{other:?} after {keys:?}");
            }
            assert!(matches!(app.press(control_c), Some(Wish::Quit)), "after {keys:?}");
        }
    }

    #[test]
    fn keys_sort_filter_and_open() {
        let mut app = app(30);
        press(&mut app, "sssss");
        assert_eq!(app.rows()[0].key, "m29/eth0", "the most traffic first");
        press(&mut app, "/m1\n");
        assert_eq!(app.rows().len(), 11);
        press(&mut app, "j");
        assert_eq!(app.chosen.as_deref(), Some("m18/eth0"));
        let opened = app.press(KeyEvent::new(KeyCode::Enter, KeyModifiers::NONE));
        assert_eq!(opened, Some(Wish::Open { node: "m18".to_owned(), what: What::Routes }));
        app.open("m18", What::Routes, vec!["a".to_owned()]);
        let rules = app.press(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::NONE));
        assert_eq!(rules, Some(Wish::Open { node: "m18".to_owned(), what: What::Rules }));
        app.press(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE));
        assert!(app.opened.is_none());
        assert_eq!(app.press(KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE)), Some(Wish::Quit));
    }

    fn key(app: &mut App, code: KeyCode) -> Option<Wish> {
        app.press(KeyEvent::new(code, KeyModifiers::NONE))
    }

    #[test]
    fn lists_are_turned_to_by_tab_and_by_number() {
        let mut app = app(3);
        press(&mut app, "s");
        app.chosen = Some("m1/eth0".to_owned());
        for (code, list) in [
            (KeyCode::Tab, List::Drops),
            (KeyCode::Tab, List::Flows),
            (KeyCode::Tab, List::Links),
            (KeyCode::Tab, List::Machines),
            (KeyCode::BackTab, List::Links),
            (KeyCode::BackTab, List::Flows),
            (KeyCode::Char('1'), List::Machines),
            (KeyCode::Char('4'), List::Links),
            (KeyCode::Char('2'), List::Drops),
            (KeyCode::Char('3'), List::Flows),
        ] {
            assert_eq!(key(&mut app, code), Some(Wish::Sample));
            assert_eq!((app.list, app.chosen.as_deref(), app.sorted_by()), (list, None, list.first_sort()));
            assert!(app.rows().is_empty(), "what is shown is of the other list");
        }
        for code in [KeyCode::Char('0'), KeyCode::Char('5'), KeyCode::Left] {
            assert_eq!((key(&mut app, code), app.list), (None, List::Flows));
        }
    }

    #[test]
    fn the_sort_goes_through_the_columns_and_begins_again() {
        let mut app = app(0);
        let sorts: Vec<_> = std::iter::repeat_with(|| (app.sorted_by(), press(&mut app, "s")).0).take(8).collect();
        assert_eq!(sorts, [3, 4, 5, 6, 0, 1, 2, 3]);
    }

    #[test]
    fn the_choice_stays_on_the_list() {
        let mut app = app(40);
        press(&mut app, "ssss");
        for (code, row) in [
            (KeyCode::Up, 0),
            (KeyCode::Down, 1),
            (KeyCode::Char('j'), 2),
            (KeyCode::Char('k'), 1),
            (KeyCode::PageDown, 16),
            (KeyCode::PageDown, 31),
            (KeyCode::PageDown, 39),
            (KeyCode::Down, 39),
            (KeyCode::PageUp, 24),
            (KeyCode::Up, 23),
            (KeyCode::Home, 0),
            (KeyCode::End, 39),
        ] {
            assert_eq!(key(&mut app, code), None);
            let rows = app.rows();
            assert_eq!((app.at(&rows), app.chosen.as_ref()), (row, Some(&rows[row].key)), "{code:?}");
        }
        app.show(Sample::default());
        key(&mut app, KeyCode::Down);
        assert_eq!((app.at(&[]), app.chosen.as_ref()), (0, None));
        assert_eq!(key(&mut app, KeyCode::Enter), None, "nothing to open");
    }

    #[test]
    fn a_filter_is_typed_mended_and_left() {
        let mut app = app(3);
        press(&mut app, "/m1x");
        key(&mut app, KeyCode::Backspace);
        key(&mut app, KeyCode::Tab);
        assert_eq!((app.filter.as_str(), app.typing, app.list), ("m1", true, List::Machines));
        key(&mut app, KeyCode::Enter);
        assert_eq!((app.filter.as_str(), app.typing, app.rows().len()), ("m1", false, 1));
        key(&mut app, KeyCode::Esc);
        assert_eq!((app.filter.as_str(), app.rows().len()), ("", 3));
        press(&mut app, "/M2");
        assert_eq!(app.rows().len(), 1, "in any case");
        key(&mut app, KeyCode::Esc);
        assert_eq!((app.filter.as_str(), app.typing), ("", false));
    }

    #[test]
    fn a_machine_is_scrolled_and_closed() {
        let mut app = app(3);
        let lines = |count: usize| vec!["line".to_owned(); count];
        app.open("m1", What::Drops, lines(20));
        assert_eq!(app.machine(), Some(("m1".to_owned(), What::Drops)));
        for (code, top) in [
            (KeyCode::Up, 0),
            (KeyCode::Down, 1),
            (KeyCode::Char('j'), 2),
            (KeyCode::Char('k'), 1),
            (KeyCode::PageDown, 16),
            (KeyCode::PageDown, 19),
            (KeyCode::PageUp, 4),
            (KeyCode::Tab, 4),
            (KeyCode::PageDown, 19),
        ] {
            assert_eq!(key(&mut app, code), None);
            assert_eq!(app.opened.as_ref().map(|opened| opened.top), Some(top), "{code:?}");
        }
        app.refresh(lines(5));
        assert_eq!(app.opened.as_ref().map(|opened| (opened.top, opened.lines.len())), Some((4, 5)));
        for (letter, what) in [('r', What::Routes), ('u', What::Rules), ('d', What::Drops)] {
            let wish = Wish::Open { node: "m1".to_owned(), what };
            assert_eq!(key(&mut app, KeyCode::Char(letter)), Some(wish));
        }
        for code in [KeyCode::Esc, KeyCode::Enter, KeyCode::Backspace] {
            app.open("m1", What::Drops, Vec::new());
            assert_eq!((key(&mut app, code), app.machine()), (None, None));
        }
        app.open("m1", What::Drops, Vec::new());
        assert_eq!(key(&mut app, KeyCode::Char('q')), Some(Wish::Quit));
        assert_eq!(key(&mut app, KeyCode::Down), None);
        app.opened = None;
        app.list = List::Drops;
        assert_eq!(key(&mut app, KeyCode::Enter), Some(Wish::Open { node: "m0".to_owned(), what: What::Drops }));
    }

    #[test]
    fn names_are_sorted_upwards_and_numbers_downwards() {
        let mut app = app(3);
        let keys = |app: &App| app.rows().iter().map(|row| row.key.clone()).collect::<Vec<_>>();
        for (sort, first, last) in
            [(0, "m0/eth0", "m2/eth0"), (1, "m2/eth0", "m0/eth0"), (2, "m0/eth0", "m2/eth0"), (9, "m0/eth0", "m2/eth0")]
        {
            app.sort = Some(sort);
            let keys = keys(&app);
            assert_eq!((keys[0].as_str(), keys[2].as_str()), (first, last), "{sort}");
        }
    }

    #[test]
    fn numbers_are_short() {
        let all = [
            (0, "0"),
            (9999, "9999"),
            (10_000, "10.0k"),
            (12_345, "12.3k"),
            (9_999_999, "9999.9k"),
            (10_000_000, "10.0M"),
            (12_000_000, "12.0M"),
            (12_900_000_000, "12.9G"),
            (12_000_000_000_000, "12.0T"),
            (12_000_000_000_000_000, "12000.0T"),
        ];
        for (number, text) in all {
            assert_eq!(Column::Count(number).text(), text);
        }
        assert_eq!(Column::Bits(25_000_000).text(), "25.0 Mbit");
        assert_eq!(
            [Column::Bits(0), Column::Rate(0), Column::Bits(7), Column::Rate(7)].map(|column| column.text()),
            ["-", "-", "7 bit", "7"]
        );
    }
}
