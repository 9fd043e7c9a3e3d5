// The storage account with the pipeline's containers, queues and tables, and the Event Grid topic for its blob events.
param location string
param tags object
param name string
param redundancy string
@description('Names by use: input, output, uploads, assets, state, queue, runQueue, ledger, runs.')
param places object
param deadLetters string
param topic string
@description('The identity that the topic uses to write dead letters: its resource id and its principal.')
param eventIdentity string
param eventPrincipal string
@description('true: allow access only through private endpoints.')
param isolated bool
@description('Retention of deleted and overwritten blobs in days; 0: no retention.')
param keepDeletedDays int

var containers = [places.input, places.output, places.uploads, places.assets, places.state, deadLetters, 'app-package']

resource account 'Microsoft.Storage/storageAccounts@2025-08-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: redundancy }
  properties: {
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    publicNetworkAccess: isolated ? 'Disabled' : 'Enabled'
    // AzureServices: Event Grid needs access to write dead letters.
    networkAcls: { defaultAction: isolated ? 'Deny' : 'Allow', bypass: 'AzureServices' }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-08-01' = {
  parent: account
  name: 'default'
  properties: {
    deleteRetentionPolicy: keepDeletedDays > 0 ? { enabled: true, days: keepDeletedDays } : { enabled: false }
    containerDeleteRetentionPolicy: keepDeletedDays > 0 ? { enabled: true, days: keepDeletedDays } : { enabled: false }
  }
}

resource container 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-08-01' = [
  for each in containers: {
    parent: blobs
    name: each
    properties: { publicAccess: 'None' }
  }
]

resource queues 'Microsoft.Storage/storageAccounts/queueServices@2025-08-01' = {
  parent: account
  name: 'default'
}

// The dead-letter queues of the platform. The pipeline reads them and records failures.
var poison = ['${places.queue}-poison', '${places.runQueue}-poison', 'webjobs-blobtrigger-poison']

resource work 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-08-01' = [
  for each in concat([places.queue, places.runQueue], poison): {
    parent: queues
    name: each
  }
]

resource tables 'Microsoft.Storage/storageAccounts/tableServices@2025-08-01' = {
  parent: account
  name: 'default'
}

resource ledger 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-08-01' = [
  for each in [places.ledger, places.runs]: {
    parent: tables
    name: each
  }
]

// Sources, renditions and assets are never deleted automatically; that is the owner's decision.
resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2025-08-01' = {
  parent: account
  name: 'default'
  properties: {
    policy: {
      rules: [
        {
          name: 'images-sent-with-requests'
          type: 'Lifecycle'
          definition: {
            filters: { blobTypes: ['blockBlob'], prefixMatch: ['${places.uploads}/'] }
            actions: { baseBlob: { delete: { daysAfterModificationGreaterThan: 7 } } }
          }
        }
        {
          name: 'events-that-were-not-delivered'
          type: 'Lifecycle'
          definition: {
            filters: { blobTypes: ['blockBlob'], prefixMatch: ['${deadLetters}/'] }
            actions: { baseBlob: { delete: { daysAfterModificationGreaterThan: 30 } } }
          }
        }
      ]
    }
  }
}

resource events 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: topic
  location: location
  tags: tags
  identity: { type: 'UserAssigned', userAssignedIdentities: { '${eventIdentity}': {} } }
  properties: { source: account.id, topicType: 'Microsoft.Storage.StorageAccounts' }
}

resource deadLetterContainer 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-08-01' existing = {
  parent: blobs
  name: deadLetters
}

// Role Storage Blob Data Contributor: the topic writes undelivered events to the dead-letter container.
resource deadLetterRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, eventPrincipal, deadLetters)
  scope: deadLetterContainer
  properties: {
    principalId: eventPrincipal
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')
    description: 'Event Grid stores undelivered events.'
  }
  dependsOn: [container]
}

output id string = account.id
output name string = account.name
output topicId string = events.id
output endpoints object = account.properties.primaryEndpoints
