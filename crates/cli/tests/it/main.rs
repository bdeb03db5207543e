//! Runs the real binary as a user does, against real servers and stores.

mod advancing;
mod basics;
mod beside;
mod corpus;
mod demo;
mod importing;
mod invariants;
mod killed;
mod linting;
mod protection;
mod recovering;
mod rendering;
mod restoring;
mod resuming;
mod running;
mod s3;
mod secrets;
mod tables;
mod telling;
mod verifying;
mod views;
mod views_killed;
mod views_places;
mod views_ways;
mod ways_on;
mod world;
