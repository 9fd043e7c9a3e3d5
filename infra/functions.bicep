// The function app: Flex Consumption, everything by identity, sized for the pool.
param location string
param tags object
param name string
param plan string
@description('The app\'s identity: its resource id and its client id.')
param identity string
param client string
param storage string
@description('Connection string of Application Insights: where to write to. It opens nothing by itself.')
param insights string
param poolEndpoint string
param maxSessions int
param cooldownSeconds int
param jobsPerSession int
@description('The most instances of each group of functions: blobs, queue, HTTP.')
param instances int
@description('Jobs that one instance of a group takes at once.')
param jobsPerInstance int
@description('Dropped images that one instance has under way at once.')
param dropsPerInstance int
param instanceMemory int
@description('Instances kept started for requests and for dropped blobs.')
param warmInstances int
param places object
@description('Subnet that the app reaches storage through; empty for the public network.')
param subnet string

// The host takes a batch, and the next one when no more than the threshold is left of it: together the jobs at once.
var batch = min(32, (jobsPerInstance + 1) / 2)

resource account 'Microsoft.Storage/storageAccounts@2025-08-01' existing = {
  name: storage
}

var endpoints = account.properties.primaryEndpoints

var identitySettings = {
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: client
  AzureWebJobsStorage__blobServiceUri: endpoints.blob
  AzureWebJobsStorage__queueServiceUri: endpoints.queue
  AzureWebJobsStorage__tableServiceUri: endpoints.table
  IMAGES__credential: 'managedidentity'
  IMAGES__clientId: client
  IMAGES__blobServiceUri: endpoints.blob
  IMAGES__queueServiceUri: endpoints.queue
  IMAGES__tableServiceUri: endpoints.table
  APPLICATIONINSIGHTS_CONNECTION_STRING: insights
  // Only together with the address above: the worker's logs would go nowhere without it.
  PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY: 'true'
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${client};Authorization=AAD'
}

var pipelineSettings = {
  PIPELINE_POOL_ENDPOINT: poolEndpoint
  PIPELINE_POOL_MAX_SESSIONS: string(maxSessions)
  PIPELINE_POOL_COOLDOWN: string(cooldownSeconds)
  PIPELINE_SESSION_CONCURRENCY: string(jobsPerSession)
  PIPELINE_INPUT_CONTAINER: places.input
  PIPELINE_OUTPUT_CONTAINER: places.output
  PIPELINE_UPLOAD_CONTAINER: places.uploads
  PIPELINE_ASSET_CONTAINER: places.assets
  PIPELINE_STATE_CONTAINER: places.state
  PIPELINE_JOB_QUEUE: places.queue
  PIPELINE_RUN_QUEUE: places.runQueue
  PIPELINE_LEDGER_TABLE: places.ledger
  PIPELINE_RUN_TABLE: places.runs
}

// These stand above the numbers in host.json.
var hostSettings = {
  AzureFunctionsJobHost__extensions__blobs__maxDegreeOfParallelism: string(dropsPerInstance)
  AzureFunctionsJobHost__extensions__queues__batchSize: string(batch)
  AzureFunctionsJobHost__extensions__queues__newBatchThreshold: string(jobsPerInstance - batch)
}

// Settings of one's own, above all of these: a deployment replaces whatever was set on the app by hand.
var ownSettings = loadJsonContent('app-settings.json')

resource hosting 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: plan
  location: location
  tags: tags
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: true }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'app' })
  kind: 'functionapp,linux'
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${identity}': {} } }
  properties: {
    serverFarmId: hosting.id
    httpsOnly: true
    virtualNetworkSubnetId: empty(subnet) ? null : subnet
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${endpoints.blob}app-package'
          authentication: { type: 'UserAssignedIdentity', userAssignedIdentityResourceId: identity }
        }
      }
      runtime: { name: 'python', version: '3.13' }
      scaleAndConcurrency: {
        maximumInstanceCount: instances
        instanceMemoryMB: instanceMemory
        alwaysReady: warmInstances == 0 ? [] : [
          { name: 'http', instanceCount: warmInstances }
          { name: 'blob', instanceCount: warmInstances }
        ]
        // Not the jobs at once: a look at a job must not wait behind requests that wait for theirs. A request's image is in
        // memory while it is taken in.
        triggers: { http: { perInstanceConcurrency: 32 } }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
    }
  }
}

resource settings 'Microsoft.Web/sites/config@2025-03-01' = {
  parent: app
  name: 'appsettings'
  properties: union(identitySettings, pipelineSettings, hostSettings, ownSettings)
}

// Nobody publishes with a password; azd signs in.
resource publishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = [
  for way in ['ftp', 'scm']: {
    parent: app
    name: way
    properties: { allow: false }
  }
]

output name string = app.name
output host string = app.properties.defaultHostName
