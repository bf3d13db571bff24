#!/bin/sh
# Draws the pictures of README and the pages anew, with `vnet graph`. A test fails while one is not current.
set -eu
cd "$(dirname "$0")/.."
UPDATE_GOLDEN=1 cargo test --test docs pictures_are_as_the_program_draws_them
git status --short docs/pictures
