from karpenter_gpu import gpus


def test_constraints_narrow_each_other():
    found = gpus.matching(gpu_names=("l4",), gpu_counts=(1,), families=("g6",))
    assert {i.name for i in found} == {"g6.xlarge", "g6.2xlarge", "g6.4xlarge", "g6.8xlarge", "g6.16xlarge"}


def test_no_constraint_allows_everything():
    assert gpus.matching() == gpus.INSTANCE_TYPES


def test_fractional_types_are_those_ec2_counts_no_gpu_on():
    assert gpus.FRACTIONAL_FAMILIES == ("g6f", "gr6f")


def test_every_row_is_whole():
    assert len(gpus.BY_NAME) == len(gpus.INSTANCE_TYPES)
    for i in gpus.INSTANCE_TYPES:
        assert i.vcpus > 0
        assert i.memory_gib > 0
        assert i.gpu_memory_mib > 0
        assert i.architecture in {"amd64", "arm64"}
        assert i.usd_per_hour is None or i.usd_per_hour > 0


def test_a_larger_instance_of_a_family_never_costs_less_for_as_many_gpus():
    for family in gpus.FAMILIES:
        of_family = [i for i in gpus.INSTANCE_TYPES if i.family == family and i.usd_per_hour]
        for small in of_family:
            for large in of_family:
                if small.gpus == large.gpus and small.vcpus < large.vcpus:
                    assert small.usd_per_hour <= large.usd_per_hour
