import base64

import pytest

from eks_rehearsal.cloudformation.resource import Made
from eks_rehearsal.cloudformation.template import (
    FUNCTIONS,
    NO_VALUE,
    Scope,
    broken,
    check,
    needs,
    parameters,
    wanted,
)
from eks_rehearsal.errors import NotEmulated, RehearsalError

MAPPINGS = {"Zones": {"eu-west-1": {"first": "a", "all": ["a", "b"]}}}


def scope(**conditions):
    return Scope(
        pseudo={"AWS::Region": "eu-west-1", "AWS::Partition": "aws"},
        parameters={"Size": "3", "Names": ["x", "y"]},
        conditions={"Yes": {"Fn::Equals": ["a", "a"]}, "No": {"Fn::Equals": ["a", "b"]}, **conditions},
        mappings=MAPPINGS,
        zones=("eu-west-1a", "eu-west-1b"),
        resources={"Vpc": Made("vpc-1", {"CidrBlock": "10.0.0.0/16", "Nested.Value": "deep", "Open": True})},
        outputs={"Below": {"Out": "given"}},
        exports={"Below:Out": "exported"},
    )


EXPRESSIONS = [
    ({"Ref": "Size"}, "3"),
    ({"Ref": "AWS::Region"}, "eu-west-1"),
    ({"Ref": "Vpc"}, "vpc-1"),
    ({"Fn::GetAtt": ["Vpc", "CidrBlock"]}, "10.0.0.0/16"),
    ({"Fn::GetAtt": "Vpc.Nested.Value"}, "deep"),
    ({"Fn::GetAtt": ["Vpc", {"Fn::Join": ["", ["Cidr", "Block"]]}]}, "10.0.0.0/16"),
    ({"Fn::Sub": "${AWS::Region}/${Vpc}/${Vpc.CidrBlock}/${Size}"}, "eu-west-1/vpc-1/10.0.0.0/16/3"),
    ({"Fn::Sub": ["${Own}-${Size}", {"Own": {"Ref": "Vpc"}}]}, "vpc-1-3"),
    ({"Fn::Sub": ["${Size}", {"Size": "shadowed"}]}, "shadowed"),
    ({"Fn::Sub": "${!Literal} $5 ${Vpc.Open}"}, "${Literal} $5 true"),
    ({"Fn::Sub": ["${Value}", {"Value": "${!Size}"}]}, "${!Size}"),
    ({"Fn::If": ["Yes", {"Ref": "Size"}, {"Ref": "Nothing"}]}, "3"),
    ({"Fn::If": ["No", {"Ref": "Nothing"}, "no"]}, "no"),
    ({"Fn::Join": ["-", ["a", 1, True, {"Ref": "AWS::NoValue"}, {"Ref": "Size"}]]}, "a-1-true-3"),
    ({"Fn::Join": [",", {"Ref": "Names"}]}, "x,y"),
    ({"Fn::Split": ["/", {"Fn::GetAtt": "Vpc.CidrBlock"}]}, ["10.0.0.0", "16"]),
    ({"Fn::Select": ["1", {"Fn::Split": ["/", "a/b"]}]}, "b"),
    ({"Fn::Select": [0, {"Fn::GetAZs": ""}]}, "eu-west-1a"),
    ({"Fn::FindInMap": ["Zones", {"Ref": "AWS::Region"}, "first"]}, "a"),
    ({"Fn::FindInMap": ["Zones", "eu-west-1", "all"]}, ["a", "b"]),
    ({"Fn::Cidr": ["10.0.0.0/16", "3", 12]}, ["10.0.0.0/20", "10.0.16.0/20", "10.0.32.0/20"]),
    ({"Fn::Cidr": [{"Fn::GetAtt": "Vpc.CidrBlock"}, 2]}, ["10.0.0.0/24", "10.0.1.0/24"]),
    ({"Fn::Select": [1, {"Fn::Cidr": ["2001:db8::/56", 2, "64"]}]}, "2001:db8:0:1::/64"),
    ({"Fn::GetAZs": {"Ref": "AWS::Region"}}, ["eu-west-1a", "eu-west-1b"]),
    ({"Fn::Base64": {"Fn::Sub": "on ${Vpc}"}}, base64.b64encode(b"on vpc-1").decode()),
    ({"Fn::Equals": [{"Ref": "Size"}, 3]}, True),
    ({"Fn::Equals": ["true", True]}, True),
    ({"Fn::Equals": [{"Ref": "Names"}, ["x"]]}, False),
    ({"Fn::Not": [{"Condition": "Yes"}]}, False),
    ({"Fn::And": [{"Condition": "Yes"}, {"Condition": "No"}]}, False),
    ({"Fn::And": [{"Condition": "Yes"}, {"Fn::Not": [{"Condition": "No"}]}]}, True),
    ({"Fn::Or": [{"Condition": "No"}, {"Condition": "Yes"}]}, True),
    ({"Fn::Or": [{"Condition": "No"}, {"Condition": "No"}]}, False),
    ({"Condition": "Yes"}, True),
    ({"Fn::Contains": [{"Ref": "Names"}, "y"]}, True),
    ({"Fn::ImportValue": {"Fn::Join": [":", ["Below", "Out"]]}}, "exported"),
    ({"Fn::GetStackOutput": {"StackName": "Below", "OutputName": "Out"}}, "given"),
    ({"Fn::Contains": [{"Ref": "Names"}, "z"]}, False),
]


@pytest.mark.parametrize(("expression", "value"), EXPRESSIONS)
def test_an_expression_has_cloudformations_value(expression, value):
    assert scope().value(expression) == value


def test_every_function_has_an_expression_above():
    assert {key for expression, _ in EXPRESSIONS for key in expression} == set(FUNCTIONS)


def test_expressions_nest_in_lists_and_maps():
    nested = {"A": [{"B": {"Fn::Join": ["", ["v", {"Fn::If": ["Yes", {"Ref": "Size"}, "0"]}]]}}], "C": 1, "D": None}
    assert scope().value(nested) == {"A": [{"B": "v3"}], "C": 1, "D": None}


def test_no_value_leaves_maps_and_lists():
    gone = {"Ref": "AWS::NoValue"}
    said = {
        "Kept": 1,
        "Gone": gone,
        "If": {"Fn::If": ["No", 1, gone]},
        "Items": [1, gone, {"Fn::If": ["Yes", gone, 2]}],
    }
    assert scope().value(said) == {"Kept": 1, "Items": [1]}
    assert scope().value(gone) is NO_VALUE
    assert scope().value({"Fn::Sub": "<${AWS::NoValue}>"}) == "<>"


def test_a_policys_condition_is_no_condition_of_the_template():
    statement = {"Condition": {"StringEquals": {"aws:RequestedRegion": {"Ref": "AWS::Region"}}}}
    assert scope().value(statement) == {"Condition": {"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}}


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ({"Fn::Transform": {}}, "Fn::Transform is an intrinsic function"),
        ({"A": [{"Fn::Length": []}]}, "Fn::Length is an intrinsic function"),
        ({"Fn::Join": ["", []], "Other": 1}, "Fn::Join .* has others beside it"),
        ({"Ref": "Lost"}, "Lost is neither a parameter nor a resource"),
        ({"Fn::Sub": "${Lost.Arn}"}, "Lost is neither"),
        ({"Fn::GetAtt": ["Vpc", "Arn"]}, "Vpc has no attribute Arn .* it has CidrBlock, Nested.Value, Open"),
        ({"Fn::Select": [2, ["a", "b"]]}, "item 2 of 2"),
        ({"Fn::Select": ["-1", ["a", "b"]]}, "item -1 of 2"),
        ({"Fn::Select": [0, "text"]}, "a list is wanted where 'text'"),
        ({"Fn::Join": ["", "text"]}, "a list is wanted where 'text'"),
        ({"Fn::Sub": "${Names}"}, r"text is wanted where \['x', 'y'\]"),
        ({"Fn::FindInMap": ["Zones", "us-east-1", "first"]}, "finds no us-east-1"),
        ({"Fn::Cidr": ["10.0.0.0/24", 3, 7]}, "finds 2 blocks in 10.0.0.0/24, not 3"),
        ({"Fn::GetAZs": "us-east-1"}, "the zones of us-east-1"),
        ({"Fn::If": ["Unknown", 1, 2]}, "condition Unknown is not in the template"),
    ],
)
def test_what_has_no_value_is_refused_by_name(expression, said):
    with pytest.raises(RehearsalError, match=said):
        scope().value(expression)


def test_conditions_are_made_of_conditions():
    both = {
        "Both": {"Fn::And": [{"Condition": "Yes"}, {"Condition": "Other"}]},
        "Other": {"Fn::Not": [{"Condition": "No"}]},
    }
    assert scope(**both).condition("Both")


def test_only_resources_whose_condition_holds_are_wanted():
    resources = {
        "Always": {"Type": "T"},
        "If": {"Type": "T", "Condition": "Yes"},
        "Not": {"Type": "T", "Condition": "No"},
    }
    assert list(wanted({"Resources": resources}, scope())) == ["Always", "If"]


SSM = "AWS::SSM::Parameter::Value"


def test_parameters_are_given_or_have_their_default():
    declared = {
        "Given": {"Type": "String", "Default": "default"},
        "Default": {"Type": "Number", "Default": 5},
        "List": {"Type": "CommaDelimitedList", "Default": "a, b"},
        "Subnets": {"Type": "List<AWS::EC2::Subnet::Id>"},
    }
    values = parameters({"Parameters": declared}, {"Given": "mine", "Subnets": "s-1,s-2"}, str)
    assert values == {"Given": "mine", "Default": 5, "List": ["a", "b"], "Subnets": ["s-1", "s-2"]}


def test_parameters_of_the_systems_manager_are_looked_up():
    declared = {
        "Version": {"Type": f"{SSM}<String>", "Default": "/cdk/version"},
        "Image": {"Type": f"{SSM}<AWS::EC2::Image::Id>"},
        "All": {"Type": f"{SSM}<List<String>>", "Default": "/all"},
    }
    held = {"/cdk/version": "30", "/image": "ami-1", "/all": "a,b"}
    values = parameters({"Parameters": declared}, {"Image": "/image"}, held.__getitem__)
    assert values == {"Version": "30", "Image": "ami-1", "All": ["a", "b"]}


def test_a_parameter_without_a_value_is_refused():
    with pytest.raises(RehearsalError, match="parameter Size has no default"):
        parameters({"Parameters": {"Size": {"Type": "String"}}}, {}, str)


def test_parameters_that_the_template_does_not_have_are_refused():
    with pytest.raises(RehearsalError, match="no parameter More, Other"):
        parameters({"Parameters": {}}, {"Other": "1", "More": "2"}, str)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ({"Resources": {}, "Transform": "X", "Hooks": {}}, "section Hooks, Transform"),
        ({"Resources": {"A": {"Type": "T", "CreationPolicy": {}}}}, "A: .* resource attribute CreationPolicy"),
        ({"Resources": {"A": {"Type": "T", "Properties": {"P": [{"Fn::Odd": 1}]}}}}, "A: .* function Fn::Odd"),
    ],
)
def test_what_the_engine_would_pass_over_is_refused(template, said):
    with pytest.raises(NotEmulated, match=said):
        check(template)


def test_all_that_is_unknown_is_said_at_once():
    resources = {"A": {"Type": "T", "UpdatePolicy": {}}, "B": {"Type": "T", "Properties": {"P": {"Fn::Odd": 1}}}}
    with pytest.raises(NotEmulated, match="section Hooks; A: .*UpdatePolicy; B: .*Fn::Odd"):
        check({"Hooks": {}, "Resources": resources})


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ({"Resources": {"A": {}}}, "A: a resource has to say its Type"),
        ({"Resources": {"A": {"Type": "T", "DependsOn": "Lost"}}}, "A names Lost"),
        ({"Resources": {"A": {"Type": "T", "Properties": {"P": {"Ref": "Lost"}}}}}, "A names Lost"),
        ({"Resources": {}, "Outputs": {"O": {"Value": {"Fn::GetAtt": ["Lost", "Arn"]}}}}, "Outputs names Lost"),
    ],
)
def test_a_template_that_names_nothing_is_refused(template, said):
    with pytest.raises(RehearsalError, match=said):
        check(template)


def test_a_sound_template_passes():
    properties = {"P": {"Fn::Sub": ["${Own}${Size}${AWS::Region}", {"Own": {"Ref": "B"}}]}}
    check(
        {
            "Parameters": {"Size": {"Type": "String"}},
            "Resources": {"A": {"Type": "T", "Properties": properties, "Metadata": {"Fn::Odd": 1}}, "B": {"Type": "T"}},
            "Outputs": {"O": {"Value": {"Ref": "A"}}},
        }
    )


RULE = {
    "Assertions": [
        {
            "Assert": {"Fn::Not": [{"Fn::Contains": [["1", "2", "3"], {"Ref": "Size"}]}]},
            "AssertDescription": "CDK bootstrap stack version 6 required",
        }
    ]
}


def test_a_rule_that_does_not_hold_says_its_sentence():
    assert broken({"Rules": {"CheckBootstrapVersion": RULE}}, scope()) == ["CDK bootstrap stack version 6 required"]


def test_a_rule_whose_condition_does_not_hold_asserts_nothing():
    assert broken({"Rules": {"Check": {**RULE, "RuleCondition": {"Fn::Equals": ["a", "b"]}}}}, scope()) == []


def test_a_resource_waits_for_what_it_names():
    resources = {
        "Ref": {"Properties": {"P": [{"Deep": {"Ref": "Vpc"}}]}},
        "GetAtt": {"Properties": {"P": {"Fn::GetAtt": ["Vpc", "Arn"]}}},
        "Dotted": {"Properties": {"P": {"Fn::GetAtt": "Vpc.Arn"}}},
        "Sub": {"Properties": {"P": {"Fn::Sub": "${Vpc}-${Role.Arn}-${!Plain}"}}},
        "SubList": {"Properties": {"P": {"Fn::Sub": ["${Vpc.Arn}${Role}", {"Role": {"Ref": "Plain"}}]}}},
        "One": {"DependsOn": "Vpc"},
        "Many": {"DependsOn": ["Vpc", "Role"], "Properties": {"P": {"Ref": "Size"}}},
        "Vpc": {},
        "Role": {},
        "Plain": {"Metadata": {"Ref": "Vpc"}},
    }
    assert needs(resources) == {
        "Ref": {"Vpc"},
        "GetAtt": {"Vpc"},
        "Dotted": {"Vpc"},
        "Sub": {"Vpc", "Role"},
        "SubList": {"Vpc", "Plain"},
        "One": {"Vpc"},
        "Many": {"Vpc", "Role"},
        "Vpc": set(),
        "Role": set(),
        "Plain": set(),
    }
