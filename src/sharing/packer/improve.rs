//! Local improvement: what a search that was cut short, or a greedy start, has missed.

use super::Cost;
use super::packing::Packing;

/// Trials of changing two agents at once, in one round of local improvement.
const TRIALS: u32 = 2_000;

/// The cheapest choice found in one round.
struct Round {
    bar: Cost,
    better: Option<Vec<usize>>,
    trials: u32,
}

impl Packing<'_> {
    /// Changes one agent at a time, then one that gives with one that takes, while the cost falls. `choice` fits.
    pub fn improve(&mut self, choice: &mut Vec<usize>, cost: &mut Cost) {
        let mut trials = TRIALS;
        loop {
            let mut round = Round {
                bar: *cost,
                better: None,
                trials: trials.saturating_sub(self.others(None)),
            };
            self.hold(choice);
            for i in 0..choice.len() {
                self.try_lines(i, choice, *cost, &mut round);
            }
            if round.better.is_none() {
                self.try_pairs(choice, *cost, &mut round);
            }
            self.release(choice);
            trials = round.trials;
            match round.better {
                Some(better) => {
                    *cost = round.bar;
                    *choice = better;
                }
                None => return,
            }
        }
    }

    /// Lines of all agents but `i`, less the one of each that is chosen: so many trials it is to try every other line of each.
    fn others(&self, i: Option<usize>) -> u32 {
        let lines = self.table.iter().enumerate();
        let others = lines.filter(|(j, _)| Some(*j) != i);
        let count: usize = others.map(|(_, lines)| lines.len() - 1).sum();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Takes the lines of the whole choice.
    fn hold(&mut self, choice: &[usize]) {
        let table = self.table;
        for (at, lines) in choice.iter().zip(table) {
            self.take(&lines[*at]);
        }
    }

    /// Gives back the lines of the whole choice.
    fn release(&mut self, choice: &[usize]) {
        let table = self.table;
        for (at, lines) in choice.iter().zip(table) {
            self.give_back(&lines[*at]);
        }
    }

    /// Tries every other line of agent `i` in a choice that costs `now` and whose lines are taken.
    fn try_lines(&mut self, i: usize, choice: &mut [usize], now: Cost, round: &mut Round) {
        let table = self.table;
        let kept = &table[i][choice[i]];
        if self.cheapest(i).cost >= kept.cost {
            return;
        }
        self.give_back(kept);
        self.try_instead(i, choice, now - kept.cost, round);
        self.take(kept);
    }

    /// Tries every other line of agent `i`, of which none is taken, in a choice that costs `others` without it; keeps the cheapest that
    /// fits and is cheaper than the round's bar.
    fn try_instead(&mut self, i: usize, choice: &mut [usize], others: Cost, round: &mut Round) {
        let kept = choice[i];
        let table = self.table;
        for k in 0..self.order[i].len() {
            let at = self.order[i][k];
            let line = &table[i][at];
            let cost = others + line.cost;
            if cost >= round.bar {
                break; // lines are in order of cost
            }
            if at == kept || !self.take(line) {
                continue;
            }
            choice[i] = at;
            let fits = (self.limits.fits)(choice);
            self.give_back(line);
            if fits {
                round.bar = cost;
                round.better = Some(choice.to_vec());
                break;
            }
        }
        choice[i] = kept;
    }

    /// Tries every other line of every agent with every other line of every other one, as far as trials go.
    fn try_pairs(&mut self, choice: &mut [usize], now: Cost, round: &mut Round) {
        let table = self.table;
        for i in 0..choice.len() {
            let kept = choice[i];
            let trials = self.others(Some(i));
            self.give_back(&table[i][kept]);
            for at in (0..table[i].len()).filter(|at| *at != kept) {
                let line = &table[i][at];
                let others = now - table[i][kept].cost + line.cost;
                choice[i] = at;
                for j in (0..choice.len()).filter(|j| *j != i) {
                    let second = &table[j][choice[j]];
                    let others = others - second.cost;
                    if others + self.cheapest(j).cost >= round.bar {
                        continue;
                    }
                    self.give_back(second);
                    if self.take(line) {
                        self.try_instead(j, choice, others, round);
                        self.give_back(line);
                    }
                    self.take(second);
                }
                choice[i] = kept;
                round.trials = round.trials.saturating_sub(trials);
                if round.trials == 0 {
                    self.take(&table[i][kept]);
                    return;
                }
            }
            self.take(&table[i][kept]);
        }
    }
}
