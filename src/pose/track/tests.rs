//! Who is found, followed, lost and told apart.
