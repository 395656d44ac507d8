#pragma once

#include <functional>
#include <string>

#include "hadal/convert/calibration.h"
#include "hadal/convert/plan.h"
#include "hadal/core/thread_pool.h"

namespace hadal::convert {

/// Sums over weights: what quantisation changed, and what there was.
struct SquaredError {
  double error = 0.0, signal = 0.0;

  SquaredError& operator+=(const SquaredError& other);
  /// Root of the mean squared error, relative to that of the weights; 0 if these are all zero.
  double relative() const;
};

/// Called after each tensor, in the order of the plan; a copy has no error.
using TensorDone = std::function<void(const Item& item, const SquaredError& error)>;

/// Writes one file of the plan to `path`, in parts of some hundred MB or one tensor, whichever is larger. With a calibration
/// (else null) integers are rounded with regard to what goes into the weights. `check` sees each
/// tensor before it is used and throws for one that is damaged. The file's metadata gets, for each quantised tensor, its
/// relative error and the SHA-256 of the source's bytes. Throws kIo.
void write_shard(const Shard& shard, const std::string& path, Calibration* calibration, ThreadPool& pool,
                 const std::function<void(const io::TensorEntry&)>& check, const TensorDone& done);

}  // namespace hadal::convert
