// The session pool. Sessions decode images; they have no network and no identity.
param location string
param tags object
param name string
@description('`python`: the built-in interpreter. `image`: the container of session_image/.')
param kind string
@description('The session image with its tag. A pool of kind `image` is created when this is set.')
param image string
@description('The identity that pulls the image.')
param identity string
param environment string
param workspace string
param maxSessions int
param readySessions int
param cooldownSeconds int

var ownImage = kind == 'image'

var lifecycle = { lifecycleType: 'Timed', cooldownPeriodInSeconds: cooldownSeconds }

resource builtIn 'Microsoft.App/sessionPools@2026-01-01' = if (!ownImage) {
  name: name
  location: location
  tags: tags
  properties: {
    poolManagementType: 'Dynamic'
    containerType: 'PythonLTS'
    scaleConfiguration: { maxConcurrentSessions: maxSessions, readySessionInstances: readySessions }
    dynamicPoolConfiguration: { lifecycleConfiguration: lifecycle }
    sessionNetworkConfiguration: { status: 'EgressDisabled' }
  }
}

// A custom-container pool needs an environment with workload profiles, and is billed per node.
resource apps 'Microsoft.App/managedEnvironments@2026-01-01' = if (ownImage) {
  name: environment
  location: location
  tags: tags
  properties: {
    workloadProfiles: [{ name: 'Consumption', workloadProfileType: 'Consumption' }]
    appLogsConfiguration: { destination: 'azure-monitor' }
    peerTrafficConfiguration: { encryption: { enabled: true } }
  }
}

resource sessionLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (ownImage) {
  name: 'sessions'
  scope: apps
  properties: {
    workspaceId: workspace
    logs: [
      { category: 'AppEnvSessionLifeCycleLogs', enabled: true }
      { category: 'AppEnvSessionPoolEventLogs', enabled: true }
    ]
  }
}

resource own 'Microsoft.App/sessionPools@2026-01-01' = if (ownImage && !empty(image)) {
  name: name
  location: location
  tags: tags
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${identity}': {} } }
  properties: {
    environmentId: apps.id
    poolManagementType: 'Dynamic'
    containerType: 'CustomContainer'
    scaleConfiguration: { maxConcurrentSessions: maxSessions, readySessionInstances: readySessions }
    dynamicPoolConfiguration: { lifecycleConfiguration: lifecycle }
    sessionNetworkConfiguration: { status: 'EgressDisabled' }
    customContainerTemplate: {
      registryCredentials: { server: split(image, '/')[0], identity: identity }
      containers: [
        {
          name: 'session'
          image: image
          resources: { cpu: 1, memory: '2Gi' }
        }
      ]
      ingress: { targetPort: 6000 }
    }
    // For pulling the image only. With `Main`, code in a session could get tokens of this identity.
    managedIdentitySettings: [{ identity: identity, lifecycle: 'None' }]
  }
}

var waits = ownImage && empty(image)

output name string = waits ? '' : name
output endpoint string = waits ? '' : (ownImage ? own!.properties.poolManagementEndpoint : builtIn!.properties.poolManagementEndpoint)
