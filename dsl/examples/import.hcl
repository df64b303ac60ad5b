# The seed is not trained: its weights are those of a model that was.
import {
  to = stage.seed
  id = "../base/.stepflow/blocks/stage.seed/step-15258"
}
