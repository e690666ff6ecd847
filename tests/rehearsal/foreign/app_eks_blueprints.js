// The Karpenter add-on of EKS Blueprints, as its documentation has it, on today's versions and with a pool of GPUs.
const cdk = require('aws-cdk-lib');
const eks = require('aws-cdk-lib/aws-eks');
const blueprints = require('@aws-quickstart/eks-blueprints');

const app = new cdk.App();
const karpenter = new blueprints.addons.KarpenterV1AddOn({
  version: '1.14.3',
  installCRDs: false,
  nodePoolSpec: {
    requirements: [{ key: 'karpenter.k8s.aws/instance-gpu-name', operator: 'In', values: ['l4'] }],
    disruption: { consolidationPolicy: 'WhenEmpty', consolidateAfter: '30s' },
  },
  ec2NodeClassSpec: {
    amiFamily: 'AL2023',
    amiSelectorTerms: [{ alias: 'al2023@latest' }],
    subnetSelectorTerms: [{ tags: { Name: 'blueprint/blueprint-vpc/PrivateSubnet*' } }],
    securityGroupSelectorTerms: [{ tags: { 'aws:eks:cluster-name': 'blueprint' } }],
  },
  interruptionHandling: true,
});
blueprints.EksBlueprint.builder()
  .version(eks.KubernetesVersion.of('1.36'))
  .account('111122223333')
  .region('us-east-1')
  .addOns(karpenter)
  .buildAsync(app, 'blueprint')
  .then(() => app.synth());
