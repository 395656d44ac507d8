#pragma once

#include "hadal/model/model.h"

namespace hadal::model {

/// Points model.weights at the tensors of model.checkpoint: every one of for_each_param found, of the right shape and type,
/// with its scales, and no other tensor there. Looks at no number. Throws kCheckpoint and kConfig.
void bind_weights(Model& model);

}  // namespace hadal::model
