from karpenter_gpu.policies.interruption import interruption_events
from karpenter_gpu.versions import Minor

CLASSIC = {
    "ScheduledChange": ("aws.health", "AWS Health Event"),
    "SpotInterruption": ("aws.ec2", "EC2 Spot Instance Interruption Warning"),
    "Rebalance": ("aws.ec2", "EC2 Instance Rebalance Recommendation"),
    "InstanceStateChange": ("aws.ec2", "EC2 Instance State-change Notification"),
}


def test_four_events_up_to_1_9():
    assert interruption_events(Minor(1, 0)) == interruption_events(Minor(1, 9)) == CLASSIC


def test_capacity_reservations_are_the_fifth_from_1_10_on():
    fifth = {
        "CapacityReservationInterruption": ("aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning"),
    }
    assert interruption_events(Minor(1, 10)) == CLASSIC | fifth
