import fc from 'fast-check';

// The same cases in every run, so that a change is judged by what it changed. FAST_CHECK_SEED draws others; a failure
// prints the seed and the path that replay it.
fc.configureGlobal({ seed: Number(process.env.FAST_CHECK_SEED ?? 1) });
