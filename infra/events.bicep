// The Event Grid subscription that delivers blob events to the app. scripts/deploy creates it after the app's code, because
// Event Grid validates the endpoint at once, and the app's host must create the key for it first.
param app string
param storage string
param topic string
param input string
param deadLetters string
@description('Resource id of the identity that the topic uses to write dead letters.')
param identity string
@description('The function in function_app.py that receives the events.')
param functionName string = 'image_uploaded'

resource site 'Microsoft.Web/sites@2025-03-01' existing = {
  name: app
}

resource account 'Microsoft.Storage/storageAccounts@2025-08-01' existing = {
  name: storage
}

resource events 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: topic
}

// The key never leaves Azure: the template reads it during the deployment.
var key = listKeys('${site.id}/host/default', '2024-11-01').systemKeys.blobs_extension

resource subscription 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: events
  // The setting PIPELINE_EVENT_SUBSCRIPTION: the app reads the dead letters of this subscription.
  name: 'image-uploaded'
  properties: {
    eventDeliverySchema: 'EventGridSchema'
    destination: {
      endpointType: 'WebHook'
      properties: {
        endpointUrl: 'https://${site.properties.defaultHostName}/runtime/webhooks/blobs?functionName=Host.Functions.${functionName}&code=${key}'
        maxEventsPerBatch: 1
        minimumTlsVersionAllowed: '1.2'
      }
    }
    filter: {
      includedEventTypes: ['Microsoft.Storage.BlobCreated']
      // The trailing slash prevents that `input` also matches `input-of-others`.
      subjectBeginsWith: '/blobServices/default/containers/${input}/'
      advancedFilters: [
        {
          // One event per completed blob. A Data Lake account also sends events for files that are still empty.
          operatorType: 'StringIn'
          key: 'data.api'
          values: ['PutBlob', 'PutBlockList', 'CopyBlob', 'FlushWithClose', 'SftpCommit']
        }
      ]
    }
    retryPolicy: { maxDeliveryAttempts: 30, eventTimeToLiveInMinutes: 1440 }
    deadLetterWithResourceIdentity: {
      identity: { type: 'UserAssigned', userAssignedIdentity: identity }
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: { resourceId: account.id, blobContainerName: deadLetters }
      }
    }
  }
}

output subscription string = subscription.name
