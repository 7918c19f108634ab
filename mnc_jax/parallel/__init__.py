"""Several devices and several hosts."""

from mnc_jax.parallel.hosts import check_same as check_same
from mnc_jax.parallel.hosts import fail_together as fail_together
from mnc_jax.parallel.hosts import gather as gather
from mnc_jax.parallel.hosts import is_first as is_first
from mnc_jax.parallel.hosts import join_hosts as join_hosts
from mnc_jax.parallel.hosts import must_end as must_end
from mnc_jax.parallel.hosts import process_count as process_count
from mnc_jax.parallel.hosts import synchronize as synchronize
from mnc_jax.parallel.mesh import AXIS as AXIS
from mnc_jax.parallel.mesh import REPLICATED as REPLICATED
from mnc_jax.parallel.mesh import SHARDED as SHARDED
from mnc_jax.parallel.mesh import WHOLE as WHOLE
from mnc_jax.parallel.mesh import data_parallel as data_parallel
from mnc_jax.parallel.mesh import local_rows as local_rows
from mnc_jax.parallel.mesh import make_mesh as make_mesh
from mnc_jax.parallel.mesh import place as place
from mnc_jax.parallel.mesh import put_batch as put_batch
from mnc_jax.parallel.mesh import replicate as replicate
from mnc_jax.parallel.mesh import to_host as to_host
from mnc_jax.parallel.mesh import weighted_mean as weighted_mean
