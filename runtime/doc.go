// Package runtime makes plans and runs them. NewPlan folds over the blocks of a configuration in
// dependency order: decode a block with what is known so far, plan it, add its exports. Apply walks
// the plan's actions. What a stage computes, and how it is trained, is in runtime/train.
package runtime
