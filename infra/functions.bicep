// The function app: Flex Consumption, access by managed identity only, sized for the pool.
param location string
param tags object
param name string
param plan string
@description('The app\'s identity: its resource id and its client id.')
param identity string
param client string
param storage string
@description('Connection string of Application Insights: the endpoint for telemetry. It gives no access by itself.')
param insights string
param poolEndpoint string
param maxSessions int
param cooldownSeconds int
param jobsPerSession int
@description('Maximum instances of each scale group: blobs, queue, HTTP.')
param instances int
@description('Concurrent jobs of one instance of a scale group.')
param jobsPerInstance int
@description('Concurrent uploads of one instance.')
param uploadsPerInstance int
param instanceMemory int
@description('Concurrent HTTP requests of one instance.')
param requestsPerInstance int
@description('Maximum size in bytes of the body of an HTTP request or response.')
param httpBodyBytes int
@description('Always-ready instances for requests and for uploads.')
param warmInstances int
param places object
@description('Subnet for the access to storage; empty for the public network.')
param subnet string

// The host fetches a batch, and the next one when the remainder is at most the threshold. So the concurrency is the sum.
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
  // Needs the connection string above; without it, the worker's logs are lost.
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
  PIPELINE_HTTP_MAX_BODY_BYTES: string(httpBodyBytes)
  PIPELINE_HTTP_MAX_RESPONSE_BYTES: string(httpBodyBytes)
  PIPELINE_HTTP_MEMORY_BYTES: string(requestsPerInstance * 2 * httpBodyBytes)
  PIPELINE_HTTP_CONCURRENCY: string(requestsPerInstance)
  PIPELINE_INSTANCE_MEMORY_MIB: string(instanceMemory)
}

// These settings override host.json.
var hostSettings = {
  // Slightly above the app's own limit, whose response says what to do. The host's own response has no body.
  FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: string(httpBodyBytes + 1024 * 1024)
  AzureFunctionsJobHost__extensions__blobs__maxDegreeOfParallelism: string(uploadsPerInstance)
  AzureFunctionsJobHost__extensions__queues__batchSize: string(batch)
  AzureFunctionsJobHost__extensions__queues__newBatchThreshold: string(jobsPerInstance - batch)
}

// Your own settings override all others. A deployment replaces settings that were changed on the app by hand.
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
        // During an upload over HTTP, the image is in memory.
        triggers: { http: { perInstanceConcurrency: requestsPerInstance } }
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

// Disable publishing with a password; azd uses its sign-in.
resource publishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = [
  for way in ['ftp', 'scm']: {
    parent: app
    name: way
    properties: { allow: false }
  }
]

output name string = app.name
output host string = app.properties.defaultHostName
